"""Ranking: each rule by itself, and what each layer does to the order of real indexes."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mmh3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from qdrant_standin import Standin
from vecloom.cli import run
from vecloom.config import Config, load_config
from vecloom.encoders.backends import How
from vecloom.errors import UsageError
from vecloom.index import Index
from vecloom.ranking import LAYERS, Boosts, Contents, Layer, default_legs, leg_weights
from vecloom.ranking.names import filename_match, name_asked, query_words, same_name
from vecloom.ranking.paths import _TEST_FILES, is_sample, is_stub, is_test
from vecloom.search import Query, contents_of, search
from vecloom.sources.languages import LANGUAGES
from vecloom.stores.client import ClientStore
from vecloom.types import Points, Schema, Scored, SparseRows, VectorField, Vectors

DENSE = VectorField("dense", "dense", 4)
OTHER = VectorField("other", "dense", 4)
CODE_WORDS = VectorField("bm25-code", "sparse", modifier="idf")
WORDS = VectorField("bm25", "sparse", modifier="idf")
ATTENTION = VectorField("minilm-attention", "sparse", modifier="idf")
LEARNED = VectorField("bge-m3-sparse", "sparse")
MANY = VectorField("bge-m3-colbert", "multivector", 4)
FIELDS = {one.name: one for one in (DENSE, OTHER, CODE_WORDS, WORDS, ATTENTION, LEARNED, MANY)}


# legs


@pytest.mark.parametrize(
    ("vectors", "legs"),
    [
        ([DENSE, CODE_WORDS], ["dense", "bm25-code"]),
        ([DENSE, ATTENTION, WORDS], ["dense", "bm25"]),
        ([DENSE, ATTENTION, WORDS, CODE_WORDS], ["dense", "bm25-code"]),
        ([CODE_WORDS, WORDS, OTHER, DENSE], ["bm25-code", "other", "dense"]),
        ([DENSE, ATTENTION], ["dense", "minilm-attention"]),
        ([LEARNED, DENSE, WORDS, MANY], ["bge-m3-sparse", "dense", "bm25"]),
        ([DENSE], ["dense"]),
        ([WORDS], ["bm25"]),
        ([MANY], []),
    ],
)
def test_default_legs(vectors: list[VectorField], legs: list[str]) -> None:
    assert default_legs(vectors) == legs


@pytest.mark.parametrize(
    ("incomplete", "legs"),
    [
        (["bm25-code"], ["dense", "bm25"]),
        (["dense"], ["dense", "bm25-code"]),
        (["bm25-code", "bm25"], ["dense", "minilm-attention"]),
        (["bm25-code", "bm25", "minilm-attention"], ["dense", "bm25-code"]),
    ],
)
def test_words_are_those_that_all_points_have(incomplete: list[str], legs: list[str]) -> None:
    assert default_legs([DENSE, ATTENTION, WORDS, CODE_WORDS], incomplete) == legs


def lists(**best: float) -> dict[str, list[Scored]]:
    """Legs with a best score each; "bm25_code" stands for "bm25-code"."""
    return {
        name.replace("_", "-"): [Scored("a", score, {}), Scored("b", score / 2, {})]
        for name, score in best.items()
    }


def words_share(
    found: Mapping[str, Sequence[Scored]], background: Mapping[str, float], layers: Sequence[Layer] = LAYERS
) -> float:
    weights = leg_weights(found, FIELDS, Contents(background=background), {}, layers)
    assert sum(weights.values()) == pytest.approx(1.0)
    return sum(weight for name, weight in weights.items() if FIELDS[name].kind == "sparse")


def test_words_weigh_by_how_far_the_best_cosine_is_from_one() -> None:
    for best, share in ((1.0, 0.0), (0.55, 0.1875), (0.1, 0.375), (0.0, 0.375 / 0.9), (-0.9, 0.6)):
        assert words_share(lists(dense=best, bm25_code=9.0), {"dense": 0.1}) == pytest.approx(share)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-0.5, 0.9))
def test_words_weigh_more_the_lower_the_best_cosine_and_never_out_of_bounds(
    one: float, other: float, background: float
) -> None:
    lower, higher = (
        words_share(lists(dense=best, bm25_code=9.0), {"dense": background}) for best in sorted((one, other))
    )
    assert 0.6 >= lower >= higher >= 0


@given(st.floats(0, 1), st.floats(-0.2, 0.8), st.floats(0, 5))
def test_words_weigh_the_same_where_all_vectors_share_a_component(
    best: float, background: float, shared: float
) -> None:
    def moved(cosine: float) -> float:
        """Of vectors of length 1 that get one more component, of this length."""
        return (cosine + shared**2) / (1 + shared**2)

    plain = words_share(lists(dense=best, bm25_code=9.0), {"dense": background})
    narrow = words_share(lists(dense=moved(best), bm25_code=9.0), {"dense": moved(background)})
    assert narrow == pytest.approx(plain, abs=1e-9)


def test_dense_legs_are_averaged_and_legs_of_one_kind_share_alike() -> None:
    found = lists(dense=0.9, other=0.5, bm25=9.0, bm25_code=4.0)
    weights = leg_weights(found, FIELDS, Contents(background={"dense": 0.0, "other": 0.0}), {}, LAYERS)
    share = 0.375 * (0.1 + 0.5) / 2
    assert weights == pytest.approx(
        {"dense": (1 - share) / 2, "other": (1 - share) / 2, "bm25": share / 2, "bm25-code": share / 2}
    )
    assert list(weights) == list(found)
    # One of which nothing is known has no say.
    assert words_share(found, {"other": 0.0}) == pytest.approx(0.375 * 0.5)


@pytest.mark.parametrize(
    ("found", "background", "layers"),
    [
        (lists(dense=0.9, bm25=9.0), {}, LAYERS),
        (lists(dense=0.9, bm25=9.0), {"dense": 1.0}, LAYERS),
        (lists(dense=0.9, bm25=9.0), {"dense": 0.1}, ("joins", "filename")),
    ],
)
def test_words_have_their_even_share_where_nothing_is_known(
    found: dict[str, list[Scored]], background: dict[str, float], layers: tuple[Layer, ...]
) -> None:
    assert words_share(found, background, layers) == pytest.approx(0.3)


def test_legs_of_one_kind_alone_have_all() -> None:
    contents = Contents(background={"dense": 0.1, "other": 0.1})
    assert leg_weights(lists(dense=0.5), FIELDS, contents, {}, LAYERS) == {"dense": 1.0}
    assert leg_weights(lists(bm25=5.0), FIELDS, contents, {}, LAYERS) == {"bm25": 1.0}
    assert leg_weights(lists(dense=0.5, other=0.1), FIELDS, contents, {}, LAYERS) == {
        "dense": 0.5,
        "other": 0.5,
    }
    assert leg_weights({}, FIELDS, contents, {}, LAYERS) == {}


def test_a_leg_that_found_nothing_has_no_weight() -> None:
    """Its vectors are not there yet: the others share what there is."""
    contents = Contents(background={"dense": 0.1, "other": 0.1})
    silent: dict[str, list[Scored]] = {"dense": []}
    found = leg_weights({**silent, **lists(bm25=9.0)}, FIELDS, contents, {}, LAYERS)
    assert found == {"dense": 0.0, "bm25": 1.0}
    found = leg_weights({**silent, **lists(other=0.5, bm25=9.0)}, FIELDS, contents, {}, LAYERS)
    without = leg_weights(lists(other=0.5, bm25=9.0), FIELDS, contents, {}, LAYERS)
    assert found == {"dense": 0.0, **without}


def test_asked_weights_are_factors() -> None:
    found, contents = lists(dense=0.5, bm25=5.0), Contents(background={"dense": 0.1})
    plain = leg_weights(found, FIELDS, contents, {}, LAYERS)
    asked = leg_weights(found, FIELDS, contents, {"bm25": 3.0}, LAYERS)
    assert asked == pytest.approx({"dense": plain["dense"], "bm25": 3 * plain["bm25"]})


# names


@pytest.mark.parametrize(
    ("query", "path", "match"),
    [
        ("retry policy", "src/retry_policy.rs", 1.0),
        ("RetryPolicy", "src/retry_policy.rs", 1.0),
        ("the retry policy of it", "src/RetryPolicy.php", 1.0),
        ("where is the retry policy set", "src/retry_policy.rs", math.sqrt(2 / 3)),
        ("retry policy", "src/retry_policy_client_test.rs", math.sqrt(2 / 4)),
        ("retry policy", "retry/policy.rs", math.sqrt(0.75)),
        ("log writer", "log/writer.rs", math.sqrt(0.75)),
        ("retry policy", "retry/mod.rs", 0.0),  # the folder's name alone asks for none of its files
        ("retrying policies", "src/retry_policy.rs", 0.95),
        ("config loader", "src/configuration.rs", math.sqrt(0.45 * 0.9)),
        ("loader", "src/lo.rs", 0.0),
        ("http", "src/http2.rs", 1.0),
        ("retry", "src/client.rs", 0.0),
        ("the of it", "src/of.rs", 0.0),
        ("go io", "io/go.rs", 0.0),
        ("gitignore", ".gitignore", 1.0),
        ("guide", "guide.de.md", 1.0),
        ("größe messen", "größeMessen.swift", 1.0),
        ("retry", "", 0.0),
    ],
)
def test_filename_match(query: str, path: str, match: float) -> None:
    assert filename_match(query_words(query), path) == pytest.approx(match)


NAMES = st.lists(
    st.sampled_from(["retry", "retries", "policy", "configuration", "config", "the", "io"]), max_size=4
)


@given(NAMES, NAMES, NAMES)
def test_filename_match_is_between_none_and_all(query: list[str], folder: list[str], name: list[str]) -> None:
    path = f"{'_'.join(folder) or 'x'}/{'_'.join(name)}.rs"
    assert 0 <= filename_match(query_words(" ".join(query)), path) <= 1


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("Loom", "loom"),
        ("  Loom ", "loom"),
        ("app.route()", "app.route"),
        ("Loom::weave", "loom::weave"),
        ("Array#map", "array#map"),
        ("$scope", "$scope"),
        ("font-size", "font-size"),
        ("error handler", ""),
        ("src/loom.py", ""),  # a path
        ("weave(thread)", ""),
        ("who?", ""),
        ("größe", "größe"),
        ("", ""),
    ],
)
def test_name_asked(query: str, name: str) -> None:
    assert name_asked(query) == name


@pytest.mark.parametrize(
    ("query", "defined", "same"),
    [
        ("app.route()", "route", True),
        ("weave", "Loom::weave", True),  # as C++ defines it
        ("Plug.Conn", "Plug.Conn", True),  # as Elixir does
        ("Conn", "Plug.Conn", True),
        ("M.weave", "M:weave", True),
        ("Flask.", "Flask", True),
        ("Rope.Conn", "Plug.Conn", False),
        ("config.json", "package.json", False),
        ("weave", "weaver", False),
        ("...", "", False),
    ],
)
def test_same_name(query: str, defined: str, same: bool) -> None:
    assert same_name(name_asked(query), defined) is same


# paths


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("tests/loom.rs", "rust"),
        ("crates/loom/tests/deep/weave.rs", "rust"),
        ("test/helper.rb", "ruby"),
        ("src/test/java/Loom.java", "java"),
        ("app/src/androidTest/Loom.kt", "kotlin"),
        ("src/integrationTest/Loom.kt", "kotlin"),
        ("web/__tests__/loom.js", "javascript"),
        ("spec/loom.lua", "lua"),
        ("pkg/testdata/loom.go", "go"),
        ("src/test_loom.py", "python"),
        ("src/loom_test.py", "python"),
        ("conftest.py", "python"),
        ("loom_test.go", "go"),
        ("src/loom.test.ts", "typescript"),
        ("src/loom.spec.tsx", "tsx"),
        ("src/loom.e2e.mjs", "javascript"),
        ("LoomTest.java", "java"),
        ("LoomTests.cs", "csharp"),
        ("TestLoom.java", "java"),
        ("LoomSpec.scala", "scala"),
        ("LoomIT.kt", "kotlin"),
        ("LoomTests.swift", "swift"),
        ("LoomTest.php", "php"),
        ("loom_spec.rb", "ruby"),
        ("loom_test.exs", "elixir"),
        ("src/tests.rs", "rust"),
        ("src/loom_tests.rs", "rust"),
        ("test-loom.c", "c"),
        ("loom_unittest.cc", "cpp"),
        ("loom_test.dart", "dart"),
        ("loom_spec.lua", "lua"),
        ("LoomSpec.hs", "haskell"),
        ("loom.bats", "bash"),
        ("loom.t", "perl"),
    ],
)
def test_tests_are_told_by_their_folder_or_their_languages_names(path: str, language: str) -> None:
    assert is_test(path, language)


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("src/loom.rs", "rust"),
        ("bin/test_runner.sh", "bash"),
        ("src/testing.py", "python"),
        ("src/contest.py", "python"),
        ("src/latest.py", "python"),
        ("src/attest_test_case.py", "python"),
        ("latest/loom.py", "python"),
        ("src/latest/loom.py", "python"),
        ("src/contest/loom.java", "java"),
        ("testing/loom.py", "python"),
        ("inspect/loom.py", "python"),
        ("src/Latest.java", "java"),
        ("src/Contest.cs", "csharp"),
        ("src/Testament.java", "java"),
        ("src/contest.swift", "swift"),
        ("src/latest.rs", "rust"),
        ("src/protest.go", "go"),
        ("src/test.go", "go"),
        ("src/loom.test.py", "python"),
        ("src/loom_test.py", "ruby"),
        ("src/test_loom.rs", "rust"),
        ("src/test_loom.py", ""),
        ("src/spectest.lua", "lua"),
        ("tests", "bash"),
    ],
)
def test_loose_names_are_no_tests(path: str, language: str) -> None:
    assert not is_test(path, language)


def test_patterns_of_test_files_are_of_languages_that_there_are() -> None:
    assert set(_TEST_FILES) <= {language.name for language in LANGUAGES}


@pytest.mark.parametrize(
    ("path", "stub"),
    [
        ("src/loom/__init__.py", True),
        ("__init__.pyi", True),
        ("web/index.js", True),
        ("web/index.mjs", True),
        ("web/index.tsx", True),
        ("src/loom/mod.rs", True),
        ("src/org/loom/package-info.java", True),
        ("src/loom.rs", False),
        ("src/index.rs", False),
        ("src/reindex.js", False),
        ("src/index.py", False),
        ("src/my__init__.py", False),
        ("index.js/loom.py", False),
    ],
)
def test_stubs(path: str, stub: bool) -> None:
    assert is_stub(path) is stub


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        ("examples/loom.rs", True),
        ("Example/Loom.swift", True),
        ("docs/samples/loom.md", True),
        ("demo/loom.php", True),
        ("vendor/autoload.php", True),
        ("third_party/zlib/inflate.c", True),
        ("third-party/zlib/inflate.c", True),
        ("web/node_modules/left-pad/index.js", True),
        ("external/loom.c", False),
        ("src/example.rs", False),
        ("src/vendors/loom.php", False),
        ("resampled/loom.py", False),
        ("democracy/loom.py", False),
        ("src/counterexamples/loom.py", False),
    ],
)
def test_samples(path: str, sample: bool) -> None:
    assert is_sample(path) is sample


# what paths and names add


def payload(path: str, kind: str = "code", language: str = "python", **more: str) -> dict[str, Any]:
    return {"path": path, "kind": kind, "language": language, **more}


@pytest.mark.parametrize(
    ("query", "found", "code", "layer", "added"),
    [
        ("retry policy", payload("src/retry_policy.py"), True, "filename", 0.4 * 2.0),
        ("Loom", payload("src/a.py", defines="weave\nLoom"), True, "definition", 0.2 * 2.0),
        ("rs.Loom()", payload("src/a.py", defines="Loom"), False, "definition", 0.2 * 2.0),
        ("weave", payload("tests/a.py"), True, "tests", -0.2),
        ("weave", payload("lib/__init__.py"), True, "stubs", -0.1),
        ("weave", payload("examples/a.py"), True, "samples", -0.2),
        ("weave", payload("docs/a.md", "prose", "markdown"), True, "prose", -0.1),
    ],
)
def test_each_layer_by_itself(
    query: str, found: dict[str, Any], code: bool, layer: Layer, added: float
) -> None:
    """A hit of score 1 where the best has 2."""
    of_all = Boosts(query, Contents(code), LAYERS).of(found, 1.0, 2.0)
    assert of_all == pytest.approx({layer: added})
    assert Boosts(query, Contents(code), (layer,)).of(found, 1.0, 2.0) == of_all
    assert Boosts(query, Contents(code), [one for one in LAYERS if one != layer]).of(found, 1.0, 2.0) == {}


@pytest.mark.parametrize(
    ("query", "found", "code"),
    [
        ("tests of weave", payload("tests/a.py"), True),
        ("weave spec", payload("tests/a.py"), True),
        ("test_weave", payload("tests/a.py"), True),
        ("an example of weave", payload("examples/a.py"), True),
        ("vendored zlib", payload("vendor/a.c", "code", "c"), True),
        ("weave", payload("tests/a.md", "prose", "markdown"), False),
        ("weave", payload("docs/a.md", "prose", "markdown"), False),
        ("weave", payload("lib/index.js", "data", "json"), True),
        ("weave", payload("src/a.py"), True),
        ("weave loom", payload("src/a.py", defines="weave\nloom"), True),  # no single name
        ("weave", payload("src/a.py", defines="weave_all\nunweave"), True),
        ("weave", payload("src/a.py"), True),  # stored by an earlier version: defines nothing
        ("weave", payload("lib/data.toml", "data", "toml"), True),
    ],
)
def test_nothing_is_added_or_taken(query: str, found: dict[str, Any], code: bool) -> None:
    assert Boosts(query, Contents(code), LAYERS).of(found, 1.0, 2.0) == {}


@given(
    st.sampled_from(["loom", "weave loom", "test loom", "loom example", "Loom"]),
    st.sampled_from(
        ["tests/loom.py", "examples/__init__.py", "examples/tests/index.js", "docs/loom.md", "a.py"]
    ),
    st.sampled_from(["code", "prose"]),
    st.sets(st.sampled_from(LAYERS)),
    st.floats(0, 1),
)
def test_layers_are_one_sum_and_one_product(
    query: str, path: str, kind: str, layers: set[Layer], score: float
) -> None:
    found = payload(path, kind, "python", defines="loom")
    added = Boosts(query, Contents(True), [one for one in LAYERS if one in layers]).of(found, score, 1.0)
    alone = {
        layer: Boosts(query, Contents(True), (layer,)).of(found, 1.0, 1.0).get(layer, 0.0) for layer in layers
    }
    assert set(added) <= layers
    total = score + alone.get("filename", 0) + alone.get("definition", 0)
    for layer in ("tests", "stubs", "samples", "prose"):
        total *= 1 + alone.get(layer, 0)
    assert score + sum(added.values()) == pytest.approx(total)


# what each layer does to the order, on a repository in Rust and on a folder of prose

CODE = {
    "src/retry_policy.rs": (
        "//! When a request is sent again.\n\npub fn delay(attempt: u32) -> u32 {\n    100 << attempt\n}\n"
    ),
    "src/client.rs": (
        "// A retry follows the policy.\npub fn send(policy: &Policy) {\n    policy.retry();\n"
        "    policy.retry_all();\n}\n"
    ),
    "src/carriage.rs": "pub struct Shuttle {\n    pub speed: f32,\n}\n",
    "src/race.rs": "".join(
        f"fn {verb}_shuttle(shuttle: Shuttle) {{}}\n\n" for verb in ("fly", "stop", "turn")
    ),
    "src/weaving.rs": "pub fn interlace(warp: Thread, weft: Thread) {\n    warp.cross(weft);\n}\n",
    "tests/weaving.rs": (
        "#[test]\nfn warp_crosses_weft() {\n    interlace(warp(), weft());\n"
        "    check_warp(warp(), weft());\n}\n"
    ),
    "src/dye/mod.rs": "//! Indigo, madder.\npub mod indigo;\npub mod madder;\n",
    "src/dye/vats.rs": (
        "pub fn indigo_with_madder(indigo: f32, madder: f32) -> Bath {\n"
        "    Bath::of(indigo, madder, Lye::some())\n}\n"
    ),
    "examples/spool.rs": "fn main() {\n    let bobbin = wind(bobbin());\n    bobbin.wind();\n}\n",
    "src/spool.rs": (
        "pub fn wind_on(bobbin: Bobbin, turns: u32, tension: f32) {\n    let slack = tension - 1.0;\n"
        "    for turn in 0..turns {\n        bobbin.turn(tension);\n    }\n}\n"
    ),
    "README.md": "# Frames\n\nA heddle frame holds every heddle; the frame moves.\n",
    "src/lifting.rs": (
        "pub fn lift(heddle: Heddle, frame: Frame, height: f32) -> Shed {\n"
        "    frame.raise(heddle, height)\n}\n"
    ),
    "src/log.rs": (
        "pub fn write(log: Log, limit: usize) {\n    let out = log.lineBuffer(limit);\n"
        "    out.flush(limit);\n    log.close();\n}\n"
    ),
    "src/parts.rs": "// A line, and a buffer of any line.\nfn line() {}\n\nfn buffer() {}\n",
}
PROSE = {
    "retry.md": "# Retries\n\nA request that fails is sent again after a moment.\n",
    "heddle.md": "# Heddles\n\nThe heddle lifts threads. Each heddle has an eye.\n",
    "looms.md": "# Looms\n\nA loom has a frame, a heddle, a shuttle and a beam.\n",
    "log.md": "# Log\n\nThe lineBuffer is what the log is written to, and flushed from.\n",
    "parts.md": "# Lines\n\nA line, and a buffer of any line. A line of a buffer.\n",
    "examples/indigo.md": "# Indigo\n\nHow to dye with indigo, and with madder.\n",
    "madder.md": "# Roots\n\nMadder is a root, indigo a leaf, and both give colour to wool and to linen.\n",
    "tests/warp.md": "# Tests\n\nA warp that breaks, a warp that holds.\n",
    "warps.md": "# Threads\n\nThe warp is what the weft crosses, again and again, thread by thread.\n",
}


def written(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.fixture(scope="module")
def in_words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Index]]:
    """Indexes by words alone of the code and of the prose."""
    home = tmp_path_factory.mktemp("words")
    config = replace(load_config(), data_dir=home / "data")
    made = {}
    for name, files in (("code", CODE), ("prose", PROSE)):
        made[name] = Index.create(home / f"of-{name}", ["bm25-code"], config=config)
        made[name].add(written(home / name, files))
    yield made
    for index in made.values():
        index.close()


def paths(index: Index, query: str, *without: str) -> list[str]:
    return [hit.path for hit in index.search(query, without=without)]


@pytest.mark.parametrize(
    ("layer", "query", "first", "second"),
    [
        ("filename", "retry for policy", "src/retry_policy.rs", "src/client.rs"),
        ("definition", "Shuttle", "src/carriage.rs", "src/race.rs"),
        ("definition", "crate::Shuttle", "src/carriage.rs", "src/race.rs"),
        ("tests", "warp weft", "src/weaving.rs", "tests/weaving.rs"),
        ("stubs", "indigo madder", "src/dye/vats.rs", "src/dye/mod.rs"),
        ("samples", "wind the bobbin", "src/spool.rs", "examples/spool.rs"),
        ("prose", "heddle frame", "src/lifting.rs", "README.md"),
        ("joins", "line buffer", "src/log.rs", "src/parts.rs"),
    ],
)
def test_each_layer_moves_a_hit_in_code(
    in_words: dict[str, Index], layer: str, query: str, first: str, second: str
) -> None:
    assert paths(in_words["code"], query)[:2] == [first, second]
    assert paths(in_words["code"], query, layer)[:2] == [second, first]
    others = [one for one in LAYERS if one != layer]
    assert paths(in_words["code"], query, *others)[:2] == [first, second]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("tests of warp weft", "tests/weaving.rs"),
        ("examples to wind the bobbin", "examples/spool.rs"),
        ("sample: wind bobbin", "examples/spool.rs"),
    ],
)
def test_who_asks_for_tests_and_samples_finds_them(
    in_words: dict[str, Index], query: str, first: str
) -> None:
    (best, *_) = in_words["code"].search(query, explain=True)
    assert best.path == first
    assert best.explanation is not None and not best.explanation.boosts.keys() & {"tests", "samples"}


@pytest.mark.parametrize("query", ["heddle frame", "warp", "line buffer", "indigo", "the log and a loom"])
def test_a_folder_of_prose_knows_no_tests_stubs_or_joins_and_nothing_is_behind_code(
    in_words: dict[str, Index], query: str
) -> None:
    index = in_words["prose"]
    hits = index.search(query, explain=True)
    plain = index.search(query, explain=True, without=["tests", "stubs", "samples", "prose", "joins"])
    assert hits == plain and len(hits) > 1
    for hit in hits:
        assert hit.explanation is not None
        assert hit.explanation.boosts.keys() <= {"filename", "definition"}
        assert not any("+" in term for term in hit.explanation.terms["bm25-code"])


def test_names_of_files_count_in_prose_and_samples_are_of_code(in_words: dict[str, Index]) -> None:
    index = in_words["prose"]
    assert paths(index, "indigo madder")[:2] == ["examples/indigo.md", "madder.md"]
    assert index.search("indigo madder", without=["samples"]) == index.search("indigo madder")
    found = index.search("Looms", explain=True)[0]
    assert found.path == "looms.md" and found.explanation is not None
    assert found.explanation.boosts == pytest.approx({"filename": 0.4, "definition": 0.2})


def test_prose_goes_behind_code_once_there_is_code(tmp_path: Path, tiny_config: Config) -> None:
    root = written(tmp_path / "tree", {"README.md": CODE["README.md"], "more.md": "# More\n\nA frame.\n"})
    with Index.create(tmp_path / "index", ["bm25-code"], config=tiny_config) as index:
        index.add(root)
        assert index.search("heddle frame", explain=True)[0].explanation.boosts == {}  # type: ignore[union-attr]
        written(root, {"src/lifting.rs": CODE["src/lifting.rs"]})
        index.add(root)
        assert paths(index, "heddle frame")[0] == "src/lifting.rs"
        (root / "src" / "lifting.rs").unlink()
        index.add(root)
        assert index.search("heddle frame", explain=True)[0].explanation.boosts == {}  # type: ignore[union-attr]


def test_who_searches_meanwhile_learns_that_there_is_code(tmp_path: Path, tiny_config: Config) -> None:
    root = written(tmp_path / "tree", {"README.md": CODE["README.md"], "more.md": "# More\n\nA frame.\n"})
    with (
        Index.create(tmp_path / "index", ["bm25-code"], config=tiny_config) as index,
        Index.open(tmp_path / "index", config=tiny_config) as other,
    ):
        index.add(root)
        assert other.search("heddle frame", explain=True)[0].explanation.boosts == {}  # type: ignore[union-attr]
        written(root, {"src/lifting.rs": CODE["src/lifting.rs"]})
        index.add(root)
        boosts = [hit.explanation.boosts for hit in other.search("heddle frame", explain=True)]  # type: ignore[union-attr]
        assert {"prose"} <= set().union(*boosts)


def test_who_searches_a_server_learns_it_after_a_while(
    standin: Standin, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(tmp_path / "tree", {"README.md": CODE["README.md"], "more.md": "# More\n\nA frame.\n"})
    with (
        Index.create(standin.url, ["bm25-code"], collection="c", config=tiny_config) as index,
        Index.open(standin.url, collection="c", config=tiny_config) as other,
    ):
        index.add(root)
        assert other.search("heddle frame", explain=True)[0].explanation.boosts == {}  # type: ignore[union-attr]
        written(root, {"src/lifting.rs": CODE["src/lifting.rs"]})
        index.add(root)
        monkeypatch.setattr("vecloom.index._CONTENTS_SECONDS", 0.0)
        boosts = [hit.explanation.boosts for hit in other.search("heddle frame", explain=True)]  # type: ignore[union-attr]
        assert {"prose"} <= set().union(*boosts)


# words and vectors

SCHEMA = Schema((VectorField("dense", "dense", 3), WORDS))


def whole_payload(path: str, text: str) -> dict[str, Any]:
    """Of a chunk of one line."""
    rest = {"source": "s", "start_line": 1, "end_line": 1, "breadcrumb": "", "text": text}
    return {**payload(path), **rest}


@pytest.mark.parametrize(
    ("best", "near", "first", "first_without"),
    [
        (0.9, 0.60, "by meaning", "by words"),  # the dense leg is sure: it decides
        (0.1, 0.55, "by words", "by meaning"),  # it is not: words do
        (0.9, 0.40, "by meaning", "by meaning"),
        (0.1, 0.70, "by words", "by words"),
    ],
)
def test_words_count_more_where_the_dense_leg_is_unsure(
    best: float, near: float, first: str, first_without: str
) -> None:
    """One chunk is nearest, with the cosine ``best``; another one, ``near`` times as near, has the word."""
    client = QdrantClient(":memory:")
    store = ClientStore.create(client, "test", SCHEMA)
    cosines = np.array([best, best * near], np.float32)
    dense = np.stack([cosines, np.sqrt(1 - cosines**2), np.zeros(2, np.float32)], axis=1)
    words = SparseRows(np.array([0, 1, 2]), np.array([1, 2], np.uint32), np.ones(2, np.float32))
    payloads = [whole_payload(f"{text}.rs", text) for text in ("by meaning", "by words")]
    ids = [str(uuid.UUID(int=number)) for number in range(2)]
    store.upsert(Points(ids, payloads, {"dense": dense, "bm25": words}))
    asked: dict[str, Vectors] = {
        "dense": np.array([[1, 0, 0]], np.float32),
        "bm25": SparseRows(np.array([0, 1]), np.array([2], np.uint32), np.ones(1, np.float32)),
    }
    contents = Contents(background={"dense": 0.0})
    found = {
        without: [hit.text for hit in search(store, Query("x y", without=without), asked, contents=contents)]
        for without in ((), ("weights",))
    }
    client.close()
    assert found[()][0] == first and found[("weights",)][0] == first_without


def test_a_plus_in_a_learned_vocabulary_tells_of_no_join() -> None:
    """In prose, where words that are joined are left out."""
    store = ClientStore.create(QdrantClient(":memory:"), "test", Schema((LEARNED,)))
    rows = SparseRows(np.array([0, 1]), np.array([7], np.uint32), np.ones(1, np.float32))
    store.upsert(Points([str(uuid.UUID(int=1))], [whole_payload("a.md", "C++")], {LEARNED.name: rows}))
    terms = {LEARNED.name: {7: "++"}}
    assert len(search(store, Query("C++"), {LEARNED.name: rows}, contents=Contents(), terms=terms)) == 1


@pytest.fixture(scope="module")
def in_both(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Iterator[dict[str, Index]]:
    """Indexes with the default models, the real ones."""
    home = tmp_path_factory.mktemp("both")
    config = replace(load_config(), data_dir=home / "data")
    made = {}
    for name, files in (("code", CODE), ("prose", PROSE)):
        made[name] = Index.create(home / f"of-{name}", config=config)
        made[name].add(written(home / name, files))
    yield made
    for index in made.values():
        index.close()


def words_weight(index: Index, query: str, *without: str) -> float:
    """What words weigh: the share of the hit that has them best."""
    hits = index.search(query, without=without, explain=True, limit=20)
    return max(hit.explanation.shares.get("bm25-code", 0.0) for hit in hits if hit.explanation)


@pytest.mark.parametrize(
    ("name", "sure", "unsure"),
    [
        ("code", "send request with retry policy", "usize"),
        ("code", "lift a heddle frame", "Lye"),
        ("prose", "a loom has a frame and a shuttle and a beam", "wool"),
    ],
)
def test_words_weigh_more_where_minilm_finds_nothing_alike(
    in_both: dict[str, Index], name: str, sure: str, unsure: str
) -> None:
    index = in_both[name]
    assert words_weight(index, sure) < 0.2 < words_weight(index, unsure) <= 0.6
    for query in (sure, unsure):
        assert words_weight(index, query, "weights") == pytest.approx(0.3)


def test_an_index_tells_what_any_two_of_its_chunks_share(in_both: dict[str, Index]) -> None:
    for name, code in (("code", True), ("prose", False)):
        with in_both[name]._home.access.open("test") as store:
            found = contents_of(store)
            rows = np.stack(
                [one.vectors["qdrant-minilm"] for one in store.scroll(None, (), ("qdrant-minilm",))]
            )
        cosines = rows @ rows.T
        others = cosines[~np.eye(len(rows), dtype=bool)]
        assert found.code is code
        assert found.background == pytest.approx({"qdrant-minilm": others.mean()}, abs=1e-5)


# explanations

EVERY = ("qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25", "bm25-code")
ASKED: list[dict[str, Any]] = [
    {},
    {"fusion": "auto", "using": ["minilm", "bm25", "minilm-attention", "bm25-code"]},
    {"fusion": "auto", "weights": {"bm25-code": 3.0, "minilm-attention": 0.5}},
    {"without": ["weights", "filename", "prose"]},
    {"fusion": "rrf"},
    {"fusion": "dbsf"},
    {"fusion": "weighted"},
    {"using": ["bm25-code"]},
    {"weights": {"bm25": 2.0}},
]


@pytest.fixture(scope="module")
def explained(
    tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path, standin: Standin
) -> Iterator[dict[str, Index]]:
    """The code and the prose in one index with four vectors: in a folder, and on a server."""
    # The real MiniLM: the tiny model's cosines are so much alike that rounding would decide the order.
    home = tmp_path_factory.mktemp("explained")
    config = replace(load_config(), data_dir=home / "data")
    roots = [written(home / name, files) for name, files in (("code", CODE), ("prose", PROSE))]
    made = {
        "folder": Index.create(home / "index", EVERY, config=config),
        "server": Index.create(standin.url, EVERY, collection="explained", config=config),
    }
    for index in made.values():
        index.add(*roots)
    yield made
    for index in made.values():
        index.close()


def term_id(term: str) -> int:
    return abs(mmh3.hash(term.replace("+", "")))


@pytest.mark.parametrize("place", ["folder", "server"])
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_score_is_the_sum_of_what_is_told(
    explained: dict[str, Index], place: str, asked: dict[str, Any]
) -> None:
    index = explained[place]
    for query in ("retry policy", "Shuttle", "indigo tests", "heddle frame", "line buffer"):
        hits = index.search(query, explain=True, limit=30, **asked)
        assert hits
        for hit in hits:
            said = hit.explanation
            assert said is not None
            total = sum(said.shares.values()) + sum(said.boosts.values())
            assert hit.score == pytest.approx(total, abs=1e-12)
            assert hit.legs.keys() <= said.shares.keys()
            assert said.boosts.keys().isdisjoint(asked.get("without", ()))
            assert not said.boosts or "fusion" not in asked or asked["fusion"] == "auto"
        plain = index.search(query, limit=30, **asked)
        assert [(hit.id, hit.legs.keys()) for hit in hits] == [(hit.id, hit.legs.keys()) for hit in plain]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in plain], rel=1e-5)
        assert all(hit.explanation is None for hit in plain)
        # Who is searched by words is told which of them it has.
        words = {name for hit in hits for name in hit.legs} - {"qdrant-minilm"}
        for hit in hits:
            for name in words & hit.legs.keys():
                assert hit.explanation is not None and hit.explanation.terms[name]


@pytest.mark.parametrize("place", ["folder", "server"])
def test_matched_words_are_those_that_the_query_and_the_chunk_share(
    explained: dict[str, Index], place: str
) -> None:
    index, text = explained[place], "retry policy of the line buffer, Shuttle"
    names = ("bm25", "minilm-attention", "bm25-code")
    hits = index.search(text, fusion="auto", using=names, explain=True, limit=30)
    queries = index._query_engine(names, None).encode_queries([text], names)
    with index._home.access.open("test") as store:
        stored = {one.id: one.vectors for one in store.get([hit.id for hit in hits], (), names)}
    for hit in hits:
        assert hit.explanation is not None and hit.explanation.terms.keys() == set(names)
        for name, matched in hit.explanation.terms.items():
            indices, values = stored[hit.id][name]
            weights = dict(zip(indices.tolist(), values.tolist(), strict=True))
            query = queries[name]
            assert isinstance(query, SparseRows)
            shared = weights.keys() & set(query.row(0)[0].tolist())
            assert {term_id(term): weight for term, weight in matched.items()} == pytest.approx(
                {index: weights[index] for index in shared}
            )
            assert list(matched.values()) == sorted(matched.values(), reverse=True)
    told = {term for hit in hits if hit.explanation for term in hit.explanation.terms["bm25-code"]}
    assert {"retri", "polici", "retry+policy", "line+buffer", "shuttl"} <= told


def test_a_query_that_a_model_cuts_is_explained(explained: dict[str, Index]) -> None:
    query = " ".join(f"shuttle number {number}" for number in range(400)) + " heddle"
    for name, found in (("minilm-attention", {"shuttl"}), ("bm25-code", {"shuttl", "heddl"})):
        hits = explained["folder"].search(query, using=[name], explain=True, limit=30)
        told = {term for hit in hits if hit.explanation for term in hit.explanation.terms[name]}
        assert found <= told and ("heddl" in told) is ("heddl" in found)


def test_learned_words_are_told_as_their_pieces(tmp_path: Path, seed_config: Config) -> None:
    """Beside a model that prompts its queries."""
    models = ("jina-code-embeddings-1.5b", "bge-m3-sparse", "bm25-code")
    root = written(tmp_path / "code", {name: CODE[name] for name in ("src/client.rs", "src/carriage.rs")})
    with Index.create(tmp_path / "index", models, how=How(device="cpu"), config=seed_config) as index:
        index.add(root)
        hits = index.search("policy.retry();", explain=True)
        assert {hit.path for hit in hits} == {"src/client.rs", "src/carriage.rs"}
        for hit in hits:
            assert hit.explanation is not None
            total = sum(hit.explanation.shares.values()) + sum(hit.explanation.boosts.values())
            assert hit.score == pytest.approx(total)
            assert ("bge-m3-sparse" in hit.legs) is bool(hit.explanation.terms["bge-m3-sparse"])
        (best,) = (hit for hit in hits if hit.path == "src/client.rs")
        assert best.legs.keys() == {"jina-code-1.5b", "bge-m3-sparse", "bm25-code"}


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_server_gives_the_order_of_a_folder(explained: dict[str, Index], asked: dict[str, Any]) -> None:
    for query in ("retry policy", "Shuttle", "tests of warp weft", "heddle frame", "file of a request"):
        mine, theirs = (
            explained[place].search(query, explain=True, limit=30, **asked) for place in ("folder", "server")
        )
        assert [hit.id for hit in mine] == [hit.id for hit in theirs]
        for one, other in zip(mine, theirs, strict=True):
            assert one.score == pytest.approx(other.score, rel=1e-4)
            assert one.explanation is not None and other.explanation is not None
            assert one.explanation.shares == pytest.approx(other.explanation.shares, abs=1e-4)
            assert one.explanation.boosts == pytest.approx(other.explanation.boosts, abs=1e-4)
            assert {name: pytest.approx(said) for name, said in one.explanation.terms.items()} == dict(
                other.explanation.terms
            )


def test_the_command_explains(
    tiny_environ: dict[str, str],
    tmp_path: Path,
    standin: Standin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "code", CODE)

    def call(*arguments: str) -> str:
        capsys.readouterr()
        assert run([*arguments]) == 0
        return capsys.readouterr().out

    places = [["--index", "here"], ["--index", standin.url, "--collection", "command"]]
    told = []
    for place in places:
        call("index", "code", *place)
        rows = [
            json.loads(line)
            for line in call("search", "warp weft", "--explain", "--json", *place).splitlines()
        ]
        for row in rows:
            said = row["explanation"]
            assert row["score"] == pytest.approx(sum(said["shares"].values()) + sum(said["boosts"].values()))
        assert [row["path"] for row in rows if row["explanation"]["boosts"].get("tests")] == [
            "tests/weaving.rs"
        ]
        best = next(row for row in rows if row["path"] == "src/weaving.rs")
        assert best["explanation"]["terms"]["bm25-code"].keys() == {"warp", "weft"}
        told.append([row["path"] for row in rows])

        plain = [json.loads(line) for line in call("search", "warp weft", "--json", *place).splitlines()]
        assert all("explanation" not in row and "reranked" not in row for row in plain)
        assert [row["path"] for row in plain] == told[-1]

        listing = call("search", "warp weft", "--explain", *place)
        share = best["explanation"]["shares"]["bm25-code"]
        assert f"bm25-code {share:+.4f} (#{best['legs']['bm25-code']['rank']}, " in listing
        words = ", ".join(
            f"{word} {weight:.2f}" for word, weight in best["explanation"]["terms"]["bm25-code"].items()
        )
        assert words in listing
        taken = next(row["explanation"]["boosts"] for row in rows if row["path"] == "tests/weaving.rs")
        assert f"tests {taken['tests']:+.4f}" in listing
        assert "not among its hits" in listing  # of a chunk without a word of the query
        kept = call("search", "warp weft", "--explain", "--without", "tests", *place)
        assert "tests -" not in kept
        assert "bm25-code +" not in call("search", "warp weft", *place)
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"without": ["speed"]}, "no layer of ranking is called 'speed'; there are weights, joins"),
        ({"without": ["tests"], "fusion": "rrf"}, "rrf has no layers to leave out"),
        ({"without": ["tests"], "using": ["bm25-code"]}, "rrf has no layers to leave out"),
    ],
)
def test_layers_that_cannot_be_left_out(
    in_words: dict[str, Index], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        in_words["code"].search("warp", **arguments)
