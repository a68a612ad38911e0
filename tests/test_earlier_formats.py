"""Indexes and packs of chunker 1, whose points do not tell what they define: they go on working."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from qdrant_standin import Standin
from stored import Contents, contents, differences, fresh
from vecloom import carry
from vecloom.chunking import CHUNKER_VERSION
from vecloom.config import Config
from vecloom.errors import IndexMismatchError
from vecloom.index import Index
from vecloom.pack.files import FolderFiles, sha256_of
from vecloom.pack.manifest import load_pack_manifest
from vecloom.pipeline import embedding, reading, run
from vecloom.pipeline.points import NewPoint, points_of
from vecloom.recipe import Asked

#: The default models of that time.
THREE = ("qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25")
DENSE = ("qdrant-minilm", "minilm-attention")
FOUR = (*THREE, "bm25-code")

FILES = {
    "src/loom.rs": "pub struct Loom {\n    size: u32,\n}\n\npub fn weave(on: Loom) {\n    on.beat();\n}\n",
    "src/shuttle.rs": "pub fn throw(shuttle: Shuttle) -> Shuttle {\n    shuttle\n}\n",
    "guide.md": "# Guide\n\nHow to weave on a Loom.\n\n## Retries\n\nRetry twice.\n",
    "settings.toml": '[loom]\nthread = "red"\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@contextmanager
def earlier() -> Iterator[None]:
    """What is indexed here is indexed as of old."""

    def without(*arguments: Any) -> list[NewPoint]:
        points = points_of(*arguments)
        return [
            replace(one, payload={k: v for k, v in one.payload.items() if k != "defines"}) for one in points
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CHUNKER_VERSION", 1)
        patch.setattr(reading, "points_of", without)
        yield


def earlier_index(
    place: Path | str, config: Config, *roots: Path, models: Sequence[str] = THREE, **options: Any
) -> Index:
    with earlier():
        index = Index.create(place, models, config=config, **options)
        index.add(*roots)
    assert not any("defines" in payload for payload, _ in contents(index).values())
    return index


def earlier_pack(folder: Path, config: Config, *roots: Path, models: Sequence[str] = THREE) -> Path:
    """A pack whose Parquet files have no column ``defines``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "CHUNKER_VERSION", 1)
        carry.embed(folder, *roots, models=models, config=config)
    manifest = load_pack_manifest(FolderFiles(folder))
    shards = []
    for shard in manifest.shards:
        path = folder / shard.name
        pq.write_table(pq.read_table(path).drop_columns(["defines"]), path)
        with path.open("rb") as file:
            shards.append(replace(shard, bytes=path.stat().st_size, sha256=sha256_of(file)))
    replace(manifest, shards=tuple(shards)).save(folder)
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["chunker"] == 1
    return folder


def vectors_named(found: Contents, names: Sequence[str]) -> dict[str, list[Any]]:
    return {point: [vectors[name] for name in names] for point, (_, vectors) in found.items()}


def alike(found: Contents, wanted: Contents) -> None:
    """All the same, but for the last bits of dense vectors, whose windows differ."""
    assert found.keys() == wanted.keys()
    for point, (payload, vectors) in wanted.items():
        mine, my_vectors = found[point]
        assert mine == payload
        assert my_vectors.keys() == vectors.keys()
        for name, vector in vectors.items():
            assert np.allclose(np.ravel(my_vectors[name]), np.ravel(vector), atol=1e-6), name


def searched(index: Index) -> None:
    """Every kind of question is answered, by what there is."""
    asked: list[dict[str, Any]] = [{}, {"fusion": "auto"}, {"fusion": "rrf"}, {"without": ["definition"]}]
    for options in asked:
        hits = index.search("Loom", explain=True, **options)
        assert {hit.path for hit in hits} == set(FILES)
        for hit in hits:
            assert hit.explanation is not None and "definition" not in hit.explanation.boosts
            used = set(hit.explanation.shares)
            assert used <= (
                {"qdrant-minilm", "minilm-attention", "bm25"}
                if options.get("fusion") == "rrf"
                else {"qdrant-minilm", "bm25"}
            )
    assert {hit.path for hit in index.search("weave on", using=["bm25"])} == {"guide.md", "src/loom.rs"}


def test_an_index_is_searched(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with earlier_index(tmp_path / "index", tiny_config, tree):
        pass
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        searched(index)
        status = index.status()
        assert set(status.vectors.values()) == {status.points} and status.incomplete == ()


def test_a_collection_is_searched_and_indexed_again(
    tree: Path, tmp_path: Path, tiny_config: Config, standin: Standin
) -> None:
    with earlier_index(standin.url, tiny_config, tree, collection="earlier") as index:
        searched(index)
        before = vectors_named(contents(index), DENSE)
        report = index.add(tree)
        assert not report.encoded
        assert vectors_named(contents(index), DENSE) == before
        assert all("defines" in payload for payload, _ in contents(index).values())
        assert index.search("weave", explain=True)[0].path == "src/loom.rs"


def test_an_index_is_indexed_again_without_encoding(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with earlier_index(tmp_path / "index", tiny_config, tree) as index:
        before = contents(index)
        points = len(before)
        assert index._load().chunker == 1
        report = index.add(tree)
        assert not report.encoded and report.unchanged == 0 and report.deleted == 0
        assert report.new + report.moved == points
        after = contents(index)
        assert vectors_named(after, DENSE) == vectors_named(before, DENSE)
        assert differences(after, fresh(tmp_path / "clean", tiny_config, tree, models=THREE)) == []
        defined = {name for payload, _ in after.values() for name in payload["defines"].split("\n")}
        assert defined >= {"Loom", "weave", "throw", "Guide", "Retries"}
        # It is one of today's from here on.
        assert index._load().chunker == CHUNKER_VERSION
        again = index.add(tree)
        assert again.unchanged == len(FILES) and not again.new and not again.moved
        hits = index.search("Loom", explain=True)
        assert any("definition" in hit.explanation.boosts for hit in hits if hit.explanation)


def test_what_changed_meanwhile_is_all_that_is_encoded(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with earlier_index(tmp_path / "index", tiny_config, tree) as index:
        (tree / "src" / "shuttle.rs").write_text("pub fn rest(shuttle: Shuttle) {}\n", "utf-8")
        report = index.add(tree)
        assert report.encoded == dict.fromkeys(DENSE, 1)
        alike(contents(index), fresh(tmp_path / "clean", tiny_config, tree, models=THREE))


def test_a_source_that_is_not_named_waits_for_its_turn(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "heddle.rs").write_text("pub fn lift(heddle: Heddle) {}\n", "utf-8")
    with earlier_index(tmp_path / "index", tiny_config, tree, other) as index:
        assert not index.add(tree).encoded
        left = [payload for payload, _ in contents(index).values() if "defines" not in payload]
        assert [payload["path"] for payload in left] == ["heddle.rs"]
        assert index.search("heddle", using=["bm25"])[0].path == "heddle.rs"
        assert not index.add(other).encoded
        found = contents(index)
        assert differences(found, fresh(tmp_path / "clean", tiny_config, tree, other, models=THREE)) == []


def test_the_new_words_join_an_index(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    earlier_index(tmp_path / "index", tiny_config, tree).close()
    with Index.prepare(tmp_path / "index", Asked(FOUR), config=tiny_config) as index:
        before = contents(index)
        report = index.add(tree)
        after = contents(index)
        assert set(report.encoded) <= {"bm25-code"}
        assert vectors_named(after, DENSE) == vectors_named(before, DENSE)
        assert differences(after, fresh(tmp_path / "clean", tiny_config, tree, models=FOUR)) == []
        assert "bm25-code" in index.search("weave")[0].legs


def test_the_new_words_are_made_of_points_that_define_nothing(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    """Of a source that is not read again: by its path and text alone."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "heddle.rs").write_text("pub fn lift(heddle: Heddle) {}\n", "utf-8")
    earlier_index(tmp_path / "index", tiny_config, tree, other).close()
    with Index.prepare(tmp_path / "index", Asked(FOUR), config=tiny_config) as index:
        index.add(tree)
        assert index.incomplete == ()
        assert index.search("heddle", using=["bm25-code"])[0].path == "heddle.rs"
        index.add(other)
        found = contents(index)
        assert differences(found, fresh(tmp_path / "clean", tiny_config, tree, other, models=FOUR)) == []


def test_equal_texts_of_which_one_tells_what_it_defines_are_two(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    shutil.copytree(tree, tmp_path / "other")
    with earlier_index(tmp_path / "index", tiny_config, tree, tmp_path / "other") as index:
        index.add(tree)
    with Index.prepare(tmp_path / "index", Asked(FOUR), config=tiny_config) as index:
        assert index.add(tree).unchanged == len(FILES)  # all points lack the new words, and get them at once
        found = contents(index)
    wanted = fresh(tmp_path / "clean", tiny_config, tree, models=FOUR)
    assert differences({point: found[point] for point in wanted}, wanted) == []
    words = {
        (payload["source"], payload["path"]): vectors["bm25-code"] for payload, vectors in found.values()
    }
    assert {path for path in FILES if words["tree", path] == words["other", path]} == {"settings.toml"}


def test_equal_texts_below_folders_that_their_header_has_no_room_for_are_two(
    tmp_path: Path, tiny_config: Config
) -> None:
    for folder in ("weaving", "spinning"):
        below = tmp_path / "tree" / folder / "machines"
        below.mkdir(parents=True)
        (below / "the_first_of_many_heddles.rs").write_text("pub fn lift(heddle: Heddle) {}\n", "utf-8")
    models = ("qdrant-minilm-onnx", "bm25-code")
    with Index.create(tmp_path / "index", models[:1], chunk_tokens=32, config=tiny_config) as index:
        index.add(tmp_path / "tree")
        assert len({payload["header"] for payload, _ in contents(index).values()}) == 1
    with Index.prepare(tmp_path / "index", Asked(models), config=tiny_config) as index:
        index.add(tmp_path / "tree")
        found = contents(index)
    with Index.create(tmp_path / "clean", models, chunk_tokens=32, config=tiny_config) as index:
        index.add(tmp_path / "tree")
        assert differences(found, contents(index)) == []


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pack_is_loaded_and_its_trees_indexed(
    tree: Path, tmp_path: Path, tiny_config: Config, zipped: bool
) -> None:
    pack = earlier_pack(tmp_path / "pack", tiny_config, tree)
    if zipped:
        with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
            for path in sorted(pack.iterdir()):
                archive.write(path, path.name)
        pack = tmp_path / "pack.zip"
    loaded = carry.load(pack, tmp_path / "index", config=tiny_config)
    assert loaded.points == loaded.sent > 0
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        searched(index)
        assert {payload["defines"] for payload, _ in contents(index).values()} == {""}
        report = index.add(tree, source="tree")
        assert not report.encoded
        alike(contents(index), fresh(tmp_path / "clean", tiny_config, tree, models=THREE))


def test_a_pack_goes_into_an_index_of_its_time_and_not_into_one_of_today(
    tree: Path, tmp_path: Path, tiny_config: Config, standin: Standin
) -> None:
    pack = earlier_pack(tmp_path / "pack", tiny_config, tree, models=THREE[:2])
    for place, collection in ((tmp_path / "index", None), (standin.url, "of-its-time")):
        with earlier_index(place, tiny_config, tree, collection=collection) as index:
            before = contents(index)
            carry.load(pack, place, collection=collection, config=tiny_config)
            # The vector that only the index has stays.
            assert vectors_named(contents(index), ["bm25"]) == vectors_named(before, ["bm25"])
            searched(index)
    with Index.create(tmp_path / "new", THREE, config=tiny_config) as index:
        index.add(tree)
    with pytest.raises(IndexMismatchError, match=f"chunker is {CHUNKER_VERSION} here and 1 there"):
        carry.load(pack, tmp_path / "new", config=tiny_config)


def test_a_pack_is_embedded_again_without_encoding(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    pack = earlier_pack(tmp_path / "pack", tiny_config, tree)
    report = carry.embed(pack, tree, config=tiny_config)
    assert set(report.encoded) == {"bm25"} and report.reused == len(DENSE) * report.points
    carry.embed(tmp_path / "clean", tree, models=THREE, config=tiny_config)
    assert load_pack_manifest(FolderFiles(pack)) == load_pack_manifest(FolderFiles(tmp_path / "clean"))


@pytest.mark.parametrize("with_trees", [False, True])
def test_the_new_words_join_a_pack(tree: Path, tmp_path: Path, tiny_config: Config, with_trees: bool) -> None:
    pack = earlier_pack(tmp_path / "pack", tiny_config, tree)
    report = carry.embed(pack, *[tree][: int(with_trees)], models=FOUR, config=tiny_config)
    assert not set(report.encoded) & set(DENSE) and report.encoded["bm25-code"] == report.points
    carry.load(pack, tmp_path / "index", config=tiny_config)
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        found = contents(index)
        wanted = fresh(tmp_path / "clean", tiny_config, tree, models=FOUR)
        if with_trees:
            alike(found, wanted)
        else:
            assert found.keys() == wanted.keys()
            assert {payload["defines"] for payload, _ in found.values()} == {""}
            index.add(tree, source="tree")
            alike(contents(index), wanted)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
@pytest.mark.parametrize("place", ["pack", "index"])
def test_what_is_of_old_is_exported(
    tree: Path, tmp_path: Path, tiny_config: Config, kind: str, place: str
) -> None:
    if place == "pack":
        earlier_pack(tmp_path / "pack", tiny_config, tree)
    else:
        earlier_index(tmp_path / "index", tiny_config, tree).close()
    carry.export(tmp_path / place, kind, tmp_path / "out", config=tiny_config)  # type: ignore[arg-type]
    wanted = fresh(tmp_path / "clean", tiny_config, tree, models=THREE)
    texts = {payload["text"] for payload, _ in wanted.values()}
    ending = "parquet" if kind == "parquet" else "jsonl"
    (file,) = [one for one in [tmp_path / "out", *(tmp_path / "out").glob(f"*.{ending}")] if one.is_file()]
    if kind == "parquet":
        rows = pq.read_table(file).to_pylist()
        assert {row["defines"] for row in rows} == {""}
    else:
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert {row.get("payload", row)["text"] for row in rows} == texts and len(rows) == len(wanted)
