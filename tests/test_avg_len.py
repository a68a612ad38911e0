"""BM25's average length: counted over trees, asked for, recorded, kept and held to."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Vecloom
from stored import contents
from vecloom import carry
from vecloom.config import Config
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.bm25_code import Bm25CodeEncoder
from vecloom.errors import IndexFormatError, IndexMismatchError, PackError, UsageError
from vecloom.index import Index
from vecloom.pipeline import reading, storing
from vecloom.pipeline.manifest import load_manifest, manifest_of, said_of
from vecloom.pipeline.points import passage_of
from vecloom.pipeline.report import Progress
from vecloom.recipe import Asked
from vecloom.registry import Registry
from vecloom.types import Passage, SparseRows

MODELS = ("qdrant-bm25", "bm25-code")
VECTORS = ("bm25", "bm25-code")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several lengths; one of many chunks, one without a word, one that is left out."""
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    (root / "src" / "loom.py").write_text("def weaveThreads(red_thread):\n    return red_thread\n", "utf-8")
    (root / "src" / "signs.py").write_text("+ - * /\n", "utf-8")
    (root / "empty.txt").write_text("\n \n", "utf-8")
    parts = (f"## Part {n}\n\n{'shuttle and thread ' * 60}{n}\n\n" for n in range(5))
    (root / "many.md").write_text("# Many\n\n" + "".join(parts), "utf-8")
    (root / ".gitignore").write_text("left.txt\n", "utf-8")
    (root / "left.txt").write_text("never counted " * 500, "utf-8")
    return root


def passages(index: Index) -> list[Passage]:
    return [passage_of(payload) for payload, _ in contents(index).values()]


def own_words(passage: Passage) -> dict[str, int]:
    """What each model counts of a passage: the figures of its encoder, for that passage alone."""
    _, plain = Bm25Encoder(Registry().find("qdrant-bm25")).encode_documents([passage.encoded_text])
    row = replace(Registry().find("bm25-code"), settings={"avg_len": 1.0})
    _, code = Bm25CodeEncoder(row).encode_passages([passage])
    return {"bm25": plain.tokens, "bm25-code": code.tokens}


def vectors_of(encoder: Any, given: list[Passage]) -> SparseRows:
    if isinstance(encoder, Bm25CodeEncoder):
        (rows,) = encoder.encode_passages(given)[0].values()
    else:
        (rows,) = encoder.encode_documents([passage.encoded_text for passage in given])[0].values()
    return rows


def require_lengths(index: Index, lengths: dict[str, float]) -> None:
    """The stored vectors are those of encoders with these constants, to the last bit."""
    stored = list(contents(index).values())
    given = [passage_of(payload) for payload, _ in stored]
    for key, kind in (("qdrant-bm25", Bm25Encoder), ("bm25-code", Bm25CodeEncoder)):
        row = Registry().find(key)
        encoder = kind(replace(row, settings={**row.settings, "avg_len": lengths[row.vector_name]}))
        rows = vectors_of(encoder, given)
        for number, (_, vectors) in enumerate(stored):
            indices, values = rows.row(number)
            assert vectors[row.vector_name] == [indices.tolist(), values.tolist()]


def made(folder: Path, tree: Path, config: Config, **options: Any) -> Index:
    index = Index.create(folder, MODELS, config=config, **options)
    index.add(tree)
    return index


def test_encoders_count_the_words_that_they_weigh() -> None:
    given = [
        Passage("src/loom.py\n", "def weaveThreads(red): pass", "src/loom.py", "Loom", "weaveThreads"),
        Passage("", "the of and"),
        Passage("a.md > Guide\n", "Weave it twice. " * 3, "a.md"),
    ]
    plain, code = Bm25Encoder(Registry().find("qdrant-bm25")), Bm25CodeEncoder(Registry().find("bm25-code"))
    # src, loom, py, def, weavethreads, red, pass; a, md, guide and weav, twice three times without stop words
    assert [plain.text_words([one]) for one in given] == [7, 0, 8]
    # def, weave, thread, weavethreads, red, pass; the fields around count elsewhere
    assert [code.text_words([one]) for one in given] == [6, 0, 6]
    for encoder in (plain, code):
        assert encoder.text_words(given * 700) == 700 * sum(encoder.text_words([one]) for one in given)
        assert encoder.text_words([]) == 0


def test_a_rebuild_counts_the_mean_of_its_own_chunks(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    said: list[str] = []
    events: list[Progress] = []
    # It lies within the tree, of which it is no part.
    index = made(tree / "index", tree, tiny_config)
    report = Index.rebuild(
        tree / "index",
        Asked(avg_len="auto"),
        config=tiny_config,
        notice=said.append,
        listener=events.append,
    )
    counts = [own_words(passage) for passage in passages(index)]
    assert len(counts) == report.points > 6 and {0} < {one["bm25-code"] for one in counts}
    wanted = {name: round(sum(one[name] for one in counts) / len(counts), 2) for name in VECTORS}
    assert wanted["bm25"] != wanted["bm25-code"] and all(wanted.values())
    assert load_manifest(tree / "index").avg_lens == wanted == index.status().avg_len
    require_lengths(index, wanted)
    told = ", ".join(f"{wanted[name]:.2f} words ({name})" for name in VECTORS)
    assert said == [f"average length of a chunk: {told}"]
    steps = [event.step for event in events]
    assert steps.index("measure") < steps.index("read") and "encode" not in steps[: steps.index("read")]


def test_a_number_is_what_a_new_index_is_made_with(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with made(tmp_path / "index", tree, tiny_config, avg_len=33) as index:
        require_lengths(index, {"bm25": 33.0, "bm25-code": 33.0})
        assert index.search("shuttle", using=["bm25-code"])
    with made(tmp_path / "one", tree, tiny_config, avg_len={"bm25-code": 40.5}) as index:
        require_lengths(index, {"bm25": 256.0, "bm25-code": 40.5})
        assert index.status().avg_len == {"bm25-code": 40.5}
    with made(tmp_path / "own", tree, tiny_config, avg_len={"bm25-code": 75}) as index:
        assert index.status().avg_len == {}, "the row's own number is no other one"


def test_an_index_without_it_stays_as_it_was(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with made(tmp_path / "index", tree, tiny_config) as index:
        require_lengths(index, {"bm25": 256.0, "bm25-code": 75.0})
        assert index.status().avg_len == {}
    Index.rebuild(tmp_path / "index", Asked(), config=tiny_config)
    assert load_manifest(tmp_path / "index").avg_lens == {}
    path = tmp_path / "index" / "index.json"
    said = json.loads(path.read_text("utf-8"))
    for model in said["models"]:
        assert model.pop("avg_len") is None
    path.write_text(json.dumps(said), "utf-8")  # as an earlier version wrote it
    with Index.prepare(tmp_path / "index", Asked(), config=tiny_config) as index:
        assert index.add(tree).new == 0 and index.search("shuttle")


def test_it_is_kept_until_another_one_is_asked(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    made(folder, tree, tiny_config, avg_len=33).close()

    def rebuilt(asked: Asked) -> dict[str, float]:
        Index.rebuild(folder, asked, config=tiny_config)
        return load_manifest(folder).avg_lens

    assert rebuilt(Asked()) == {"bm25": 33.0, "bm25-code": 33.0}
    assert rebuilt(Asked(("bm25-code",))) == {"bm25-code": 33.0}
    assert rebuilt(Asked(MODELS)) == {"bm25-code": 33.0}
    assert rebuilt(Asked(chunk_tokens=64)) == {"bm25-code": 33.0}
    with Index.open(folder, config=tiny_config) as index:
        require_lengths(index, {"bm25": 256.0, "bm25-code": 33.0})
    assert rebuilt(Asked(avg_len=75)) == {"bm25": 75.0}
    counted = rebuilt(Asked(avg_len="auto"))
    (tree / "more.md").write_text("word " * 40, "utf-8")
    assert rebuilt(Asked()) == counted != {}
    assert rebuilt(Asked(avg_len="auto")) != counted
    with pytest.raises(UsageError, match="none of qdrant-minilm-onnx has an average length"):
        rebuilt(Asked(("minilm",), avg_len="auto"))
    assert rebuilt(Asked(("minilm",))) == {}


def test_another_one_needs_a_rebuild(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    made(folder, tree, tiny_config, avg_len={"bm25-code": 33}).close()
    before = (folder / "index.json").read_bytes()
    for asked, error, said in (
        (
            Asked(avg_len=33),
            IndexMismatchError,
            "qdrant-bm25 were computed with an average length of 256 words",
        ),
        (Asked(avg_len={"bm25-code": 34.5}), IndexMismatchError, "of 33 words, not 34.5; .* --rebuild"),
        (Asked(avg_len="auto"), UsageError, "--rebuild --avg-len auto"),
        (
            Asked(avg_len={"bm26": 3}),
            UsageError,
            "bm26 has no average length; of these models bm25, bm25-code",
        ),
        (Asked(avg_len=0), UsageError, "above 0, not 0"),
        (Asked(avg_len=math.nan), UsageError, "above 0, not nan"),
    ):
        with pytest.raises(error, match=said):
            Index.prepare(folder, asked, config=tiny_config)
    for length in (-1, math.inf, "auto"):
        with pytest.raises(UsageError, match="average length is"):
            Index.create(tmp_path / "other", MODELS, avg_len=length, config=tiny_config)
    assert not (tmp_path / "other").exists() and (folder / "index.json").read_bytes() == before
    for same in (Asked(), Asked(MODELS), Asked(avg_len={"bm25-code": 33, "bm25": 256})):
        with Index.prepare(folder, same, config=tiny_config) as index:
            assert index.status().avg_len == {"bm25-code": 33.0}
            assert index.add(tree).unchanged == 4


def test_a_further_model_takes_the_one_that_is_asked(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, ["qdrant-bm25"], config=tiny_config) as index:
        index.add(tree)
    asked = Asked(MODELS, avg_len={"bm25-code": 50})
    with Index.prepare(folder, asked, config=tiny_config) as index:
        index.add(tree)
        require_lengths(index, {"bm25": 256.0, "bm25-code": 50.0})


def test_a_rebuild_that_was_stopped_goes_on(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    folder = tmp_path / "index"
    index = made(folder, tree, tiny_config)
    monkeypatch.setattr(storing, "WINDOW_CHUNKS", 1)
    monkeypatch.setattr(reading, "_AHEAD_FILES", 1)
    read: list[int] = []

    def stop(event: Progress) -> None:
        if event.step == "read":
            read.append(event.done)
            if event.done == 2:
                raise StoppedError

    with pytest.raises(StoppedError):
        Index.rebuild(folder, Asked(avg_len="auto"), config=tiny_config, listener=stop)
    assert read[-1] == 2 and index.status().avg_len == {}
    require_lengths(index, {"bm25": 256.0, "bm25-code": 75.0})
    report = Index.rebuild(folder, Asked(avg_len="auto"), config=tiny_config)
    assert 0 < report.new < report.points
    require_lengths(index, dict(load_manifest(folder).avg_lens))


def test_where_there_is_no_word_the_rows_own_holds(tmp_path: Path, tiny_config: Config) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "signs.txt").write_text("+ - * /\n", "utf-8")
    said: list[str] = []
    made(tmp_path / "index", tmp_path / "tree", tiny_config).close()
    asked = Asked(("bm25-code",), avg_len="auto")
    report = Index.rebuild(tmp_path / "index", asked, config=tiny_config, notice=said.append)
    assert report.points == 1 and load_manifest(tmp_path / "index").avg_lens == {}
    assert said == ["average length of a chunk: there is no word; the own ones of the models hold"]


def test_a_manifest_with_an_impossible_one_is_refused(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    made(tmp_path / "index", tree, tiny_config, avg_len=33).close()
    manifest = load_manifest(tmp_path / "index")
    said = json.loads(json.dumps(said_of(manifest)))
    assert manifest_of(said, "here") == manifest
    for length in (0, -3.0, math.inf, "many"):
        said["models"][0]["avg_len"] = length
        with pytest.raises(IndexFormatError, match="cannot be read"):
            manifest_of(dict(said), "here")


def test_packs_tell_it_and_indexes_of_another_one_take_none(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    carry.embed(tmp_path / "pack", tree, models=MODELS, config=tiny_config)
    said = json.loads((tmp_path / "pack" / "manifest.json").read_text("utf-8"))
    assert [model["avg_len"] for model in said["models"]] == [None, None]
    Index.create(tmp_path / "index", MODELS, avg_len=33, config=tiny_config).close()
    with pytest.raises(IndexMismatchError, match=r"avg_len of bm25 is 33\.0 here and None there"):
        carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    for model in said["models"]:
        model["avg_len"] = 33.0
    (tmp_path / "pack" / "manifest.json").write_text(json.dumps(said), "utf-8")
    carry.load(tmp_path / "pack", tmp_path / "loaded", config=tiny_config)
    with Index.open(tmp_path / "loaded", config=tiny_config) as index:
        assert index.status().avg_len == {"bm25": 33.0, "bm25-code": 33.0}
    said["models"][0]["avg_len"] = 0
    (tmp_path / "pack" / "manifest.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(PackError, match="get the pack again"):
        carry.load(tmp_path / "pack", tmp_path / "other", config=tiny_config)


def test_the_command_asks_and_tells(tree: Path, vecloom: Vecloom) -> None:
    names = ",".join(MODELS)
    for options, said in (
        (["--avg-len", "auto"], "--rebuild --avg-len auto"),
        (["--avg-len", "auto", "--rebuild"], "an index that is there"),
        (["--avg-len", "much"], "--avg-len takes auto or a number of words, not 'much'"),
        (["--avg-len", "0"], "above 0"),
    ):
        code, _, err = vecloom("index", "tree", "--models", names, *options)
        assert code == 2 and said in err.splitlines()[-1]
        assert vecloom("status")[0] == 2, "nothing was made"
    code, _, err = vecloom("index", "tree", "--remove", "tree", "--avg-len", "3")
    assert code == 2 and "--remove stands alone" in err
    assert vecloom("index", "tree", "--models", names, "--avg-len", "33.5")[0] == 0
    code, out, _ = vecloom("status")
    assert (
        code == 0 and "average length: 33.50 words (bm25)\naverage length: 33.50 words (bm25-code)\n" in out
    )
    assert json.loads(vecloom("status", "--json")[1])["avg_len"] == {"bm25": 33.5, "bm25-code": 33.5}
    code, _, err = vecloom("index", "tree", "--avg-len", "75")
    assert code == 2 and "an average length of 33.5 words, not 75; leave the option out, or make" in err
    code, _, err = vecloom("index", "--rebuild", "--avg-len", "auto")
    assert code == 0 and "average length of a chunk: " in err
    counted = json.loads(vecloom("status", "--json")[1])["avg_len"]
    assert counted.keys() == {*VECTORS} and 33.5 not in counted.values()
    assert vecloom("index", "tree")[0] == 0
    assert np.isfinite([*counted.values()]).all()
