"""Ranking: each rule by itself, and what each layer does to the order of real indexes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecloom.ranking import LAYERS, Boosts, Contents, Layer, default_legs, leg_weights
from vecloom.ranking.names import filename_match, name_asked, query_words
from vecloom.ranking.paths import _TEST_FILES, is_sample, is_stub, is_test
from vecloom.types import Scored, VectorField

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
        ({"dense": [], **lists(bm25=9.0)}, {"dense": 0.1}, LAYERS),
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
        ("app.route()", "route"),
        ("Loom::weave", "weave"),
        ("Array#map", "map"),
        ("$scope", "$scope"),
        ("font-size", "font-size"),
        ("error handler", ""),
        ("weave(thread)", ""),
        ("who?", ""),
        ("größe", "größe"),
        ("", ""),
    ],
)
def test_name_asked(query: str, name: str) -> None:
    assert name_asked(query) == name


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
    from vecloom.sources.languages import LANGUAGES

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
        ("external/loom.c", True),
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
        ("weave", payload("examples/a.md", "prose", "markdown"), False, "samples", -0.2),
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
