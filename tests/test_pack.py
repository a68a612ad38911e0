"""Packs: written, gone on with, read back, carried as a zip, exported; and what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stored import contents, differences, fresh
from tiny_bert import HIDDEN
from vecloom import carry
from vecloom.cli import run
from vecloom.config import Config
from vecloom.errors import (
    IndexMismatchError,
    PackError,
    StoreBusyError,
    TimeLimitError,
    UsageError,
)
from vecloom.index import Index
from vecloom.pack.columns import PAYLOAD, TableWriter, points_of, read_tables, schema_of, table_of
from vecloom.pack.manifest import PackManifest
from vecloom.pack.reading import Pack
from vecloom.pack.writing import PackWriter
from vecloom.pipeline import exporting, filling, loading
from vecloom.pipeline.reading import Reader, ReadFile
from vecloom.recipe import Asked
from vecloom.sources import File, Skip
from vecloom.types import Points, SparseRows, VectorField

FIELDS = (
    VectorField("dense-1.5", "dense", 4),
    VectorField("words", "sparse", modifier="idf"),
    VectorField("many", "multivector", 3),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    for number in range(9):
        (root / "src" / f"part{number}.py").write_text(
            "".join(f"def weave_{number}_{i}(yarn):\n    return yarn * {i}\n\n\n" for i in range(9)), "utf-8"
        )
    (root / "notes.md").write_text("# Looms\n\nThe shuttle flies.\n", "utf-8")
    return root


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 4)


def shards(pack: Path) -> dict[str, bytes]:
    """The files that a manifest lists, which must be all."""
    listed = [shard.name for shard in Pack.open(pack).manifest.shards]
    assert sorted(listed) == sorted(path.name for path in pack.glob("*.parquet"))
    assert not list(pack.glob("*.part"))
    return {name: (pack / name).read_bytes() for name in ["manifest.json", *listed]}


def read(pack: Path) -> list[Points]:
    opened = Pack.open(pack)
    return [points for shard in opened.manifest.shards for points in opened.points(shard)]


def some_points(count: int) -> Points:
    rng = np.random.default_rng(count)
    values: Mapping[str, Any] = {name: 7 if str(kind) == "int64" else "x" for name, kind in PAYLOAD.items()}
    rows = [{**values, "start_line": i, "text": f"naïve 漢字 {i}"} for i in range(count)]
    lengths = rng.integers(0, 4, count)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    words = SparseRows(
        indptr,
        np.concatenate([np.sort(rng.choice(2**32, n, replace=False)) for n in lengths]).astype(np.uint32),
        rng.random(int(indptr[-1]), np.float32),
    )
    many = [rng.random((1 + i % 3, 3), np.float32) for i in range(count)]
    dense = rng.random((count, 4), np.float32)
    return Points([f"id-{i}" for i in range(count)], rows, {"dense-1.5": dense, "words": words, "many": many})


def same_vectors(found: Points, wanted: Points, atol: float = 0.0) -> None:
    assert found.vectors.keys() == wanted.vectors.keys()
    for name, column in wanted.vectors.items():
        other = found.vectors[name]
        if isinstance(column, SparseRows):
            assert isinstance(other, SparseRows)
            np.testing.assert_array_equal(other.indptr, column.indptr)
            np.testing.assert_array_equal(other.indices, column.indices)
            np.testing.assert_array_equal(other.values, column.values)
        else:
            assert not isinstance(other, SparseRows) and len(other) == len(column)
            for mine, theirs in zip(other, column, strict=True):
                assert mine.dtype == np.float32
                np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("half", [False, True])
def test_points_go_through_parquet_and_back(tmp_path: Path, count: int, half: bool) -> None:
    points = some_points(count)
    with (tmp_path / "file").open("wb") as file:
        writer = TableWriter(file, schema_of(FIELDS, half))
        writer.write(table_of(points, writer.schema))
        writer.close()
    (table,) = read_tables(tmp_path / "file")
    found = points_of(table)
    assert found.ids == points.ids and found.payloads == points.payloads
    same_vectors(found, points, atol=5e-4 if half else 0.0)
    first, *rest = (points_of(table.slice(i, 1)) for i in range(count))
    same_vectors(first, points_of(table.slice(0, 1)))
    for i, one in enumerate([first, *rest]):  # a slice holds its own rows, not those from the first on
        mine, theirs = one.vectors["many"], found.vectors["many"]
        assert isinstance(mine, list) and isinstance(theirs, list)
        np.testing.assert_array_equal(mine[0], theirs[i])


def test_a_vector_that_is_called_like_a_column_is_refused() -> None:
    with pytest.raises(UsageError, match="'text'"):
        schema_of([VectorField("text", "dense", 4)])


def test_a_pack_holds_what_an_index_of_the_same_tree_holds(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    report = carry.embed(tmp_path / "pack", tree, config=tiny_config)
    pack = Pack.open(tmp_path / "pack")
    assert report.points == pack.manifest.points == report.new and pack.manifest.read
    assert pack.manifest.incomplete == () and len(pack.manifest.shards) > 3
    loaded = carry.load(tmp_path / "pack", tmp_path / "loaded", config=tiny_config)
    assert loaded.points == loaded.sent == report.points
    wanted = fresh(tmp_path / "clean", tiny_config, tree)
    with Index.open(tmp_path / "loaded", config=tiny_config) as index:
        found = contents(index)
        assert index.incomplete == () and index.unfinished == ()
        hits = index.search("where does the shuttle fly", limit=3)
    # Windows of other texts, so the last bits of a dense vector may differ.
    assert found.keys() == wanted.keys()
    for point, (payload, vectors) in wanted.items():
        assert found[point][0] == payload
        for name, vector in vectors.items():
            assert np.allclose(
                np.asarray(vector).ravel(), np.asarray(found[point][1][name]).ravel(), atol=1e-6
            )
    assert hits[0].path == "notes.md"


def test_the_same_trees_give_the_same_bytes_and_a_second_run_writes_nothing(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    for name in ("one", "other"):
        carry.embed(tmp_path / name, tree, config=tiny_config)
    assert shards(tmp_path / "one") == shards(tmp_path / "other")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*.parquet")}
    report = carry.embed(tmp_path / "one", tree, config=tiny_config)
    assert report.unchanged == report.files == 10 and not report.new and not report.encoded
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").glob("*.parquet")}


def changed_first(tree: Path) -> None:
    (tree / "notes.md").write_text("# Looms\n\nThe shuttle stands.\n", "utf-8")


def changed_middle(tree: Path) -> None:
    (tree / "src" / "part4.py").write_text("def other(): ...\n", "utf-8")


def added_last(tree: Path) -> None:
    (tree / "src" / "part9.py").write_text("def further(): ...\n", "utf-8")


def removed_last(tree: Path) -> None:
    (tree / "src" / "part8.py").unlink()


def removed_middle(tree: Path) -> None:
    (tree / "src" / "part3.py").unlink()


@pytest.mark.parametrize("change", [changed_first, changed_middle, added_last, removed_last, removed_middle])
def test_after_a_change_the_pack_is_that_of_a_clean_run(
    tree: Path, tmp_path: Path, tiny_config: Config, change: Any
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    change(tree)
    report = carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.embed(tmp_path / "clean", tree, config=tiny_config)
    assert shards(tmp_path / "pack") == shards(tmp_path / "clean")
    assert report.points == Pack.open(tmp_path / "clean").manifest.points
    # What is still the same is taken over, however far it has moved.
    assert report.encoded["qdrant-minilm"] == {changed_first: 1, changed_middle: 1, added_last: 1}.get(
        change, 0
    )
    # Another pack of the same source: what is gone goes from the index too.
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    (tree / "notes.md").write_text("other words\n", "utf-8")
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    loaded = carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    assert loaded.deleted == 1
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert {hit.path for hit in index.search("shuttle", using=["bm25"])} == set()


def test_a_change_while_a_run_is_stopped_encodes_nothing_twice(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    changed_first(tree)
    with pytest.raises(TimeLimitError):
        carry.embed(tmp_path / "pack", tree, seconds=0.0, config=tiny_config)
    # Nothing but the first shard's window is done, then the tree changes once more.
    changed_middle(tree)
    ticks = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    with pytest.raises(TimeLimitError):
        carry.embed(tmp_path / "pack", tree, seconds=40.0, config=tiny_config)
    monkeypatch.undo()
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 4)
    assert list((tmp_path / "pack").glob("former-*"))
    report = carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.embed(tmp_path / "clean", tree, config=tiny_config)
    assert shards(tmp_path / "pack") == shards(tmp_path / "clean")
    assert report.encoded["qdrant-minilm"] <= 2 and report.reused


def test_former_shards_are_kept_where_a_file_system_has_no_links(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    changed_first(tree)
    report = carry.embed(tmp_path / "pack", tree, config=tiny_config)
    assert report.encoded["qdrant-minilm"] == 1 and not list((tmp_path / "pack").glob("former-*"))


def test_a_further_model_computes_only_its_own_vectors_and_needs_no_tree(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    first = carry.embed(tmp_path / "pack", tree, models=("minilm", "bm25"), config=tiny_config)
    report = carry.embed(tmp_path / "pack", models=("minilm", "bm25", "bm42"), config=tiny_config)
    assert dict(report.encoded) == {"minilm-attention": first.points}
    carry.embed(tmp_path / "clean", tree, models=("minilm", "bm25", "bm42"), config=tiny_config)
    found, wanted = Pack.open(tmp_path / "pack"), Pack.open(tmp_path / "clean")
    for mine, theirs in zip(found.manifest.shards, wanted.manifest.shards, strict=True):
        for one, other in zip(found.points(mine), wanted.points(theirs), strict=True):
            assert one.ids == other.ids
            same_vectors(one, other, atol=1e-6)


def test_a_further_model_joins_a_live_index_as_a_new_vector(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    carry.embed(tmp_path / "words", tree, models=("minilm", "bm25"), config=tiny_config)
    carry.load(tmp_path / "words", tmp_path / "index", config=tiny_config)
    carry.embed(tmp_path / "bm42", tree, models=("bm42",), config=tiny_config)
    carry.load(tmp_path / "bm42", tmp_path / "index", config=tiny_config)
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        status = index.status()
        found = contents(index)
    assert set(status.vectors.values()) == {status.points} and len(status.vectors) == 3
    assert index.models == ("qdrant-minilm-onnx", "qdrant-bm25", "qdrant-minilm-attention")
    carry.embed(tmp_path / "all", tree, models=("minilm", "bm25", "bm42"), config=tiny_config)
    carry.load(tmp_path / "all", tmp_path / "clean", config=tiny_config)
    with Index.open(tmp_path / "clean", config=tiny_config) as index:
        assert differences(found, contents(index)) == []


def test_an_index_run_goes_on_with_a_loaded_pack(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    (tree / "src" / "part2.py").unlink()
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        report = index.add(tree, source="tree")
        assert not report.encoded and report.deleted and not report.new
        assert index.sources == {"tree": str(tree)}


def test_a_tree_called_like_a_loaded_source_must_say_what_it_means(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        with pytest.raises(UsageError, match="--source tree goes on with it"):
            index.add(tree)
        index.add(tree, source="mine")
        assert set(index.sources) == {"tree", "mine"}


def test_half_the_size_and_the_same_neighbours(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    carry.embed(tmp_path / "pack", tree, half=True, config=tiny_config)
    carry.embed(tmp_path / "whole", tree, config=tiny_config)
    for mine, theirs in zip(*(read(tmp_path / name) for name in ("pack", "whole")), strict=True):
        same_vectors(mine, theirs, atol=5e-4)
    (table, *_) = Pack.open(tmp_path / "pack").tables(Pack.open(tmp_path / "pack").manifest.shards[0])
    assert str(table.schema.field("qdrant-minilm").type) == f"fixed_size_list<element: halffloat>[{HIDDEN}]"
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    with pytest.raises(IndexMismatchError, match="float16"):
        carry.embed(tmp_path / "pack", tree, half=False, config=tiny_config)


def test_a_pack_is_loaded_from_a_zip_as_it_is(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "pack").iterdir()):
            archive.write(path, f"working/pack/{path.name}")
    carry.load(tmp_path / "pack.zip", tmp_path / "index", config=tiny_config)
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert index.status().points == Pack.open(tmp_path / "pack").manifest.points


def test_the_time_limit_stops_where_the_next_run_goes_on(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with pytest.raises(TimeLimitError, match="run the same command again"):
        carry.embed(tmp_path / "pack", tree, seconds=0.0, config=tiny_config)
    with pytest.raises(PackError, match="not finished"):
        carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    with pytest.raises(UsageError, match="name the PATH again"):
        carry.embed(tmp_path / "pack", config=tiny_config)
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.embed(tmp_path / "clean", tree, config=tiny_config)
    assert shards(tmp_path / "pack") == shards(tmp_path / "clean")


@pytest.mark.parametrize("place", ["pack", "index"])
def test_exports_hold_every_point(tree: Path, tmp_path: Path, tiny_config: Config, place: str) -> None:
    from qdrant_client import models

    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    wanted = fresh(tmp_path / "clean", tiny_config, tree)
    for form in ("jsonl", "parquet", "numpy"):
        count = carry.export(tmp_path / place, form, tmp_path / form, config=tiny_config)
        assert count == len(wanted)
    lines = (tmp_path / "jsonl").read_text("utf-8").splitlines()
    points = [models.PointStruct.model_validate_json(line) for line in lines]
    assert {str(point.id): point.payload for point in points} == {k: v[0] for k, v in wanted.items()}
    assert isinstance(points[0].vector, dict) and isinstance(
        points[0].vector["bm25-code"], models.SparseVector
    )
    (table,) = (points_of(table) for table in _joined(tmp_path / "parquet"))
    dense = np.load(tmp_path / "numpy" / "qdrant-minilm.npy")
    assert np.load(tmp_path / "numpy" / "ids.npy").tolist() == table.ids == [str(p.id) for p in points]
    np.testing.assert_array_equal(dense, table.vectors["qdrant-minilm"])
    words = table.vectors["bm25-code"]
    assert isinstance(words, SparseRows)
    for part in ("indptr", "indices", "values"):
        found = np.load(tmp_path / "numpy" / f"bm25-code.{part}.npy")
        np.testing.assert_array_equal(found, getattr(words, part))
    said = [json.loads(line)["vector"]["qdrant-minilm"] for line in lines]
    np.testing.assert_array_equal(np.array(said, np.float32), dense)


def _joined(path: Path) -> list[Any]:
    from vecloom.pack.columns import joined

    return [joined(list(read_tables(path)))]


def test_an_export_of_some_vectors(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.export(tmp_path / "pack", "jsonl", tmp_path / "out", using=["bm25-code"], config=tiny_config)
    line = json.loads((tmp_path / "out").read_text("utf-8").splitlines()[0])
    assert list(line["vector"]) == ["bm25-code"]
    with pytest.raises(UsageError, match="no vector"):
        carry.export(tmp_path / "pack", "jsonl", tmp_path / "out", using=["bge-m3"], config=tiny_config)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", ".hidden", "a\\b", ""])
def test_no_vectors_name_leaves_the_folder_of_an_export(tmp_path: Path, name: str) -> None:
    field = VectorField(name, "dense", 4)
    points = Points(["id"], [{}], {name: np.ones((1, 4), np.float32)})
    with pytest.raises(UsageError, match="gives no name of a file"):
        exporting.write_numpy([points], tmp_path / "out", [field], lambda _: None)
    assert not list(tmp_path.iterdir())


def points_in(index: Path, config: Config) -> dict[str, int]:
    with Index.open(index, config=config) as opened:
        return {name: chunks for name, (_, chunks) in opened.status().sources.items()}


def test_a_rebuild_does_not_take_the_working_folder_for_a_loaded_source(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    before = points_in(tmp_path / "index", tiny_config)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "private.md").write_text("private\n", "utf-8")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="tree came with a pack"):
        Index.rebuild(tmp_path / "index", Asked(), config=tiny_config)
    assert points_in(tmp_path / "index", tiny_config) == before
    Index.rebuild(tmp_path / "index", Asked(), tree, source="tree", config=tiny_config)
    assert points_in(tmp_path / "index", tiny_config) == before


def test_other_chunks_of_the_same_source_are_refused_before_anything_is_deleted(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with Index.create(tmp_path / "words", ["bm25"], config=tiny_config) as index:
        index.add(tree)
    carry.embed(tmp_path / "pack", tree, models=("minilm",), config=tiny_config)
    before = points_in(tmp_path / "words", tiny_config)
    with pytest.raises(IndexMismatchError, match="another tree, or other chunks"):
        carry.load(tmp_path / "pack", tmp_path / "words", config=tiny_config)
    assert points_in(tmp_path / "words", tiny_config) == before


def test_another_tree_of_the_same_name_is_refused_before_anything_is_deleted(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    other = tmp_path / "other" / "tree"
    other.mkdir(parents=True)
    (other / "a.md").write_text("# Spindles\n\nA spindle twists.\n", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(other)
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    with pytest.raises(IndexMismatchError, match="--source OTHER"):
        carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    assert points_in(tmp_path / "index", tiny_config) == {"tree": 1}
    carry.embed(tmp_path / "named", tree, source="named", config=tiny_config)
    carry.load(tmp_path / "named", tmp_path / "index", config=tiny_config)
    assert set(points_in(tmp_path / "index", tiny_config)) == {"tree", "named"}


@pytest.mark.parametrize("act", ["index", "remove"])
def test_a_load_that_others_came_between_sends_all(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "VISIT_POINTS", 1)
        patch.setattr(loading.Loading, "_verify", interrupt)
        with pytest.raises(KeyboardInterrupt):
            carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    assert (tmp_path / "index" / "load.json").exists()
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        if act == "index":
            changed_first(tree)  # one point for another: no count tells it
            index.add(tree, source="tree")
        else:
            index.remove("tree")
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "clean", config=tiny_config)
    found = []
    for name in ("index", "clean"):
        with Index.open(tmp_path / name, config=tiny_config) as index:
            found.append(contents(index))
    assert differences(*found) == []


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def rewritten(pack: Path, change: Any) -> None:
    """Write the first shard anew with other payloads, and list it as it then is."""
    opened = Pack.open(pack)
    writer = PackWriter(pack, opened.manifest)
    first = opened.manifest.shards[0]
    groups = list(opened.points(first))
    with writer.shard(0, first.vectors) as shard:
        for points in groups:
            payloads = [change(payload) for payload in points.payloads]
            shard.write(table_of(Points(points.ids, payloads, points.vectors), shard.schema))
    writer.save()


def test_a_pack_deletes_nothing_of_a_source_that_it_does_not_name(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    carry.embed(tmp_path / "pack", tree, config=tiny_config)
    rewritten(tmp_path / "pack", lambda payload: {**payload, "source": "mine"})
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree, source="mine")
    before = points_in(tmp_path / "index", tiny_config)
    with pytest.raises(PackError, match="'mine', which its manifest does not name"):
        carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
    assert points_in(tmp_path / "index", tiny_config)["mine"] == before["mine"]


def test_a_file_of_more_points_than_are_listed_is_not_read(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    pack = finished(tree, tmp_path, tiny_config)
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    said["shards"][0]["points"] += 1
    change_manifest(pack, shards=said["shards"])
    with pytest.raises(PackError, match="points, not"):
        carry.load(pack, tmp_path / "index", config=tiny_config)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_is_damaged_anywhere_is_one_line(
    tree: Path, tmp_path: Path, tiny_config: Config, method: int
) -> None:
    pack = finished(tree, tmp_path, tiny_config)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", method) as archive:
        for path in sorted(pack.iterdir()):
            archive.write(path, path.name)
    data = (tmp_path / "pack.zip").read_bytes()
    refused = 0
    for part in range(40):
        damaged = bytearray(data)
        at = part * len(data) // 40
        damaged[at : at + 16] = bytes(byte ^ 0xA5 for byte in damaged[at : at + 16])
        (tmp_path / "damaged.zip").write_bytes(damaged)
        try:  # where it hits nothing that is read, it may be whole
            opened = Pack.open(tmp_path / "damaged.zip")
            for shard in opened.manifest.shards:
                assert sum(len(points) for points in opened.points(shard)) == shard.points
        except PackError:
            refused += 1
    assert refused > 20


def test_a_document_whose_extra_is_missing_stays_packed(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = carry.embed(tmp_path / "pack", tree, config=tiny_config)

    def lacking(self: Reader[ReadFile], source: str, file: File, data: bytes) -> Skip:
        return Skip(file.path, "missing extra")

    (tree / "notes.md").write_text("changed, and not to be read\n", "utf-8")
    monkeypatch.setattr(Reader, "read", lacking)
    report = carry.embed(tmp_path / "pack", tree, config=tiny_config)
    assert report.points == before.points and not report.deleted and len(report.skips) == 1


def test_a_further_model_that_another_run_adds_meanwhile_is_not_lost(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry.embed(tmp_path / "pack", tree, models=("minilm", "bm25"), config=tiny_config)
    prepared = carry._prepared

    def late(*given: Any) -> Any:
        monkeypatch.setattr(carry, "_prepared", prepared)
        found = prepared(*given)
        carry.embed(tmp_path / "pack", models=("minilm", "bm25", "bm42"), config=tiny_config)
        return found

    monkeypatch.setattr(carry, "_prepared", late)
    with pytest.raises(StoreBusyError, match="changed by another run meanwhile"):
        carry.embed(tmp_path / "pack", tree, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)


def finished(tree: Path, tmp_path: Path, config: Config) -> Path:
    carry.embed(tmp_path / "pack", tree, config=config)
    return tmp_path / "pack"


def change_manifest(pack: Path, **changes: Any) -> None:
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    (pack / "manifest.json").write_text(json.dumps({**said, **changes}), "utf-8")


def tampered(pack: Path) -> None:
    path = next(pack.glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(pack: Path) -> None:
    path = next(pack.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])


def missing(pack: Path) -> None:
    next(pack.glob("*.parquet")).unlink()


def newer(pack: Path) -> None:
    change_manifest(pack, format=99)


def escaping(pack: Path) -> None:
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    (pack.parent / "outside.parquet").write_bytes((pack / said["shards"][0]["name"]).read_bytes())
    said["shards"][0]["name"] = "../outside.parquet"
    change_manifest(pack, shards=said["shards"])


def linked(pack: Path) -> None:
    path = next(pack.glob("*.parquet"))
    path.rename(pack.parent / "elsewhere")
    path.symlink_to(pack.parent / "elsewhere")


def no_json(pack: Path) -> None:
    (pack / "manifest.json").write_text("{", "utf-8")


def odd_types(pack: Path) -> None:
    change_manifest(pack, chunk_tokens="many")


def unknown_key(pack: Path) -> None:
    change_manifest(pack, shards=[{"name": "00000-3.parquet"}])


def nested(pack: Path) -> None:
    (pack / "manifest.json").write_text('{"format": ' + "[" * 200_000 + "]" * 200_000 + "}", "utf-8")


def change_listed(pack: Path, part: str, **changes: Any) -> None:
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    said[part][0] |= changes
    change_manifest(pack, **{part: said[part]})


def huge_number(pack: Path) -> None:
    change_listed(pack, "shards", points=10**15)


def far_dim(pack: Path) -> None:
    change_listed(pack, "fields", dim=10**12)


def no_budget(pack: Path) -> None:
    change_manifest(pack, chunk_tokens=-1, overlap=0)


def twice_listed(pack: Path) -> None:
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    change_manifest(pack, shards=[said["shards"][0], *said["shards"]])


def strange_vector(pack: Path) -> None:
    change_listed(pack, "shards", vectors=["other"])


def empty_source(pack: Path) -> None:
    change_manifest(pack, sources=[""])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (tampered, "is not the file that was written"),
        (truncated, "bytes, not"),
        (missing, "is missing"),
        (newer, "written by a newer vecloom"),
        (escaping, "which is no name of a shard"),
        (linked, "is missing"),
        (no_json, "cannot be read"),
        (odd_types, "chunk_tokens in its manifest.json is wrong"),
        (unknown_key, "shards.0.points in its manifest.json is wrong"),
        (nested, "manifest.json cannot be read"),
        (huge_number, "points and"),
        (far_dim, "dimensions in its manifest.json"),
        (no_budget, "chunk_tokens is -1"),
        (twice_listed, "a shard comes twice"),
        (strange_vector, "has a vector that is not there"),
        (empty_source, "is no name of a source"),
    ],
)
def test_a_damaged_pack_is_refused(
    tree: Path, tmp_path: Path, tiny_config: Config, damage: Any, said: str
) -> None:
    pack = finished(tree, tmp_path, tiny_config)
    damage(pack)
    with pytest.raises(PackError, match=said) as refused:
        carry.load(pack, tmp_path / "index", config=tiny_config)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "..\\evil"])
def test_an_archive_whose_names_leave_it_is_refused(tmp_path: Path, tiny_config: Config, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr(name, "x")
    with pytest.raises(PackError, match="leaves its folder"):
        carry.load(tmp_path / "pack.zip", tmp_path / "index", config=tiny_config)


def test_what_is_no_archive_of_one_pack_is_refused(tmp_path: Path, tiny_config: Config) -> None:
    (tmp_path / "text.zip").write_text("no zip", "utf-8")
    with pytest.raises(PackError, match="as a zip"):
        carry.load(tmp_path / "text.zip", tmp_path / "index", config=tiny_config)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(PackError, match="holds 0 packs"):
        carry.load(tmp_path / "empty.zip", tmp_path / "index", config=tiny_config)
    with pytest.raises(PackError, match="there is no pack"):
        carry.load(tmp_path / "nothing", tmp_path / "index", config=tiny_config)


def test_an_index_that_was_made_otherwise_is_refused_with_the_difference(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    pack = finished(tree, tmp_path, tiny_config)
    Index.create(tmp_path / "index", chunk_tokens=99, config=tiny_config).close()
    with pytest.raises(IndexMismatchError, match="chunk_tokens is 99 here and 256 there"):
        carry.load(pack, tmp_path / "index", config=tiny_config)
    with pytest.raises(IndexMismatchError, match=r"chunks of 256 tokens, not 99.*--out OTHER"):
        carry.embed(pack, tree, chunk_tokens=99, config=tiny_config)
    carry.load(pack, tmp_path / "v5", profile="v5", config=tiny_config)
    with pytest.raises(IndexMismatchError, match="profile v5, not default"):
        carry.load(pack, tmp_path / "v5", profile="default", config=tiny_config)


def test_a_folder_that_holds_something_else_is_left_alone(tree: Path, tiny_config: Config) -> None:
    with pytest.raises(UsageError, match="holds no pack"):
        carry.embed(tree, tree, config=tiny_config)
    assert not (tree / "manifest.json").exists()


def test_the_manifest_tells_where_the_models_come_from(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    manifest: PackManifest = Pack.open(finished(tree, tmp_path, tiny_config)).manifest
    rows = {row["vector_name"]: row for row in manifest.rows}
    assert set(rows) == {"qdrant-minilm", "bm25-code"}
    assert len(rows["qdrant-minilm"]["files"]["model.safetensors"]) == 64
    assert (
        manifest.sources == ("tree",)
        and str(tmp_path) not in (tmp_path / "pack" / "manifest.json").read_text()
    )


def test_the_command_line_carries_a_pack_home(
    tree: Path, tmp_path: Path, tiny_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert run(["embed", "tree", "--out", "pack"]) == 0
    assert run(["load", "pack", "--to", "index"]) == 0
    assert run(["search", "shuttle", "--index", "index"]) == 0
    assert run(["export", "index", "--format", "jsonl", "--out", "points.jsonl"]) == 0
    assert run(["embed", "tree", "--out", "other", "--minutes", "0"]) == 1
    assert run(["load", "pack"]) == 2
    assert run(["load", "pack", "--to", "elsewhere", "--alias", "name"]) == 2
    assert run(["load", "nothing", "--to", "elsewhere"]) == 1
