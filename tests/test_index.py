"""The main job through the facade: what is stored after edits, moves, deletes and changed settings."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stored import contents, fresh
from tiny_bert import make_tiny_bert
from vecloom.config import Config, load_config
from vecloom.errors import (
    IndexFormatError,
    IndexMismatchError,
    StoreBusyError,
    StoreError,
    UsageError,
    VecloomError,
    WeightsError,
)
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest
from vecloom.pipeline.report import Progress
from vecloom.pipeline.states import FileStates
from vecloom.pipeline.writer import writing
from vecloom.recipe import Asked

#: A model of each kind, of which the first two share a pass.
THREE = ("qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25")

SEVERAL = "def one():\n    return 'first'\n\n\nclass Two:\n    def three(self):\n        return 'third'\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "docs").mkdir(parents=True)
    (root / "code.py").write_text(SEVERAL * 1, "utf-8")
    (root / "docs" / "guide.md").write_text(
        "# Guide\n\nHow to weave.\n\n## Retries\n\nRetry twice.\n", "utf-8"
    )
    (root / "same.md").write_text("# Same\n\nThe very same words.\n", "utf-8")
    return root


def test_every_point_has_every_vector_and_can_be_found(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        report = index.add(tree)
        hits = index.search("retry twice", limit=3)
        status = index.status()
    assert report.files == 3 and report.points == status.points == report.new > 0
    assert status.vectors == dict.fromkeys(("qdrant-minilm", "bm25-code"), status.points)
    assert status.incomplete == () and report.cut["qdrant-minilm"].texts == 0
    best = next(hit for hit in hits if hit.path == "docs/guide.md")
    assert "Retry twice." in best.text and set(best.legs) == {"bm25-code", "qdrant-minilm"}
    assert hits == sorted(hits, key=lambda hit: -hit.score)


def test_a_second_run_encodes_nothing(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        report = index.add(tree)
        assert (report.unchanged, report.new, report.moved, report.deleted) == (3, 0, 0, 0)
        assert not report.encoded and contents(index) == before


def test_edits_moves_and_deletes_leave_what_a_clean_index_holds(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        (tree / "code.py").write_text("# a new first line\n" + SEVERAL.replace("third", "changed"), "utf-8")
        (tree / "same.md").rename(tree / "docs" / "moved.md")
        shutil.copy(tree / "docs" / "guide.md", tree / "copy.md")
        report = index.add(tree)
        (tree / "docs" / "guide.md").unlink()
        (tree / "copy.md").write_text("# Shrunk\n", "utf-8")
        index.add(tree)
        assert report.gone == 1
        assert contents(index) == fresh(tmp_path / "clean", tiny_config, tree)


def test_a_shifted_line_changes_a_payload_and_encodes_nothing(tmp_path: Path, tiny_config: Config) -> None:
    root = tmp_path / "notes"
    root.mkdir()
    body = "".join(f"## Part {n}\n\n{'word ' * 200}{n}\n\n" for n in range(4))
    (root / "a.md").write_text(f"# Title\n\n{'intro ' * 200}\n\n{body}", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(root)
        (root / "a.md").write_text(f"# Title\n\n{'begin ' * 200}\nmore\n\n{body}", "utf-8")
        report = index.add(root)
        assert report.moved > 0
        assert 0 < report.encoded["qdrant-minilm"] <= report.new < report.points
        assert contents(index) == fresh(tmp_path / "clean", tiny_config, root)


def test_a_second_worktree_takes_over_the_vectors(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    shutil.copytree(tree, tmp_path / "worktree")
    with Index.create(tmp_path / "index", THREE, config=tiny_config) as index:
        first = index.add(tree)
        report = index.add(tmp_path / "worktree")
        assert not report.encoded and report.reused == 2 * first.points
        assert index.sources == {"tree": str(tree), "worktree": str(tmp_path / "worktree")}
        assert index.remove("worktree") == first.points
        assert contents(index) == fresh(tmp_path / "clean", tiny_config, tree, models=THREE)
        with pytest.raises(UsageError, match="no source 'worktree'; it has tree"):
            index.remove("worktree")


def test_equal_texts_are_encoded_once(tmp_path: Path, tiny_config: Config) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("The same words in the same place.\n", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        report = index.add(tmp_path / "one", tmp_path / "two")
        assert report.points == 2 and report.encoded["qdrant-minilm"] == 1
        vectors = [vectors for _, vectors in contents(index).values()]
        assert vectors[0] == vectors[1]


def test_a_further_model_is_computed_alone(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, ["qdrant-minilm-onnx", "qdrant-bm25"], config=tiny_config) as index:
        index.add(tree)
    names = ("minilm", "bm25", "bm42")
    with Index.prepare(folder, Asked(names), config=tiny_config) as index:
        assert index.incomplete == ("minilm-attention",)
        report = index.add(tree)
        assert set(report.encoded) == {"minilm-attention"} and report.new == 0
        mine = contents(index)
    clean = fresh(tmp_path / "clean", tiny_config, tree, models=names)
    assert {point: payload for point, (payload, _) in mine.items()} == {p: x for p, (x, _) in clean.items()}
    for point, (_, vectors) in mine.items():
        assert vectors == clean[point][1]


def test_bm25_added_later_reaches_unchanged_files(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, ["minilm"], config=tiny_config) as index:
        index.add(tree)
    with Index.prepare(folder, Asked(("minilm", "bm25")), config=tiny_config) as index:
        report = index.add(tree)
        assert set(report.encoded) == {"bm25"}
        assert index.search("retry", using=["bm25"])[0].path == "docs/guide.md"


def test_words_alone_need_no_weights(tree: Path, tmp_path: Path) -> None:
    config = load_config(data_dir=tmp_path / "data", cache_dir=tmp_path / "empty", environ={})
    config = replace(config, order=("folder",), folders={}, models=())
    with Index.create(tmp_path / "index", ["bm25"], config=config) as index:
        index.add(tree)
        assert index.search("weave")[0].path == "docs/guide.md"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(("minilm",)), "leave --models out"),
        (Asked(chunk_tokens=128), "not 128"),
        (Asked(overlap=8), "not 8"),
    ],
)
def test_other_settings_are_refused_with_the_way_out(
    asked: Asked, said: str, tmp_path: Path, tiny_config: Config
) -> None:
    Index.create(tmp_path / "index", config=tiny_config).close()
    with pytest.raises(IndexMismatchError, match=said) as refused:
        Index.prepare(tmp_path / "index", asked, config=tiny_config)
    assert "--rebuild" in str(refused.value)


def test_a_rebuild_changes_the_settings_and_keeps_answering(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, config=tiny_config) as index:
        index.add(tree)
        answers: list[int] = []

        def ask(_event: Progress) -> None:
            answers.append(len(index.search("retry twice")))

        Index.rebuild(folder, Asked(("bm25", "minilm"), chunk_tokens=64), config=tiny_config, listener=ask)
        assert answers and all(answers)
        assert index.search("retry twice")[0].path == "docs/guide.md"
    manifest = load_manifest(folder)
    assert manifest.chunk_tokens == 64 and [m.vector_name for m in manifest.models] == [
        "bm25",
        "qdrant-minilm",
    ]
    assert sorted(path.name for path in folder.glob("shard-*")) == [manifest.shard]
    assert not (folder / "rebuild").exists()


def test_changed_weights_are_refused(tree: Path, tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home)
    config = load_config(file=home / "config.toml", data_dir=tmp_path, cache_dir=home / "cache", environ={})
    with Index.create(tmp_path / "index", config=config) as index:
        index.add(tree)
    make_tiny_bert(home / "tiny", max_position_embeddings=500)
    with (
        Index.open(tmp_path / "index", config=config) as index,
        pytest.raises(IndexMismatchError, match="files of"),
    ):
        index.add(tree)


def test_a_lost_file_cache_is_told_by_the_shard(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        (tmp_path / "index" / "files.db").write_bytes(b"this is no database at all, and never was one")
        for side in ("-wal", "-shm"):
            (tmp_path / "index" / f"files.db{side}").unlink(missing_ok=True)
        (tree / "same.md").unlink()
        report = index.add(tree)
        assert report.gone == 1 and not report.encoded
        assert contents(index) == {p: x for p, x in before.items() if x[0]["path"] != "same.md"}


def test_one_writer_at_a_time(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        with writing(index.folder, "index elsewhere"), pytest.raises(StoreBusyError, match="index elsewhere"):
            index.add(tree)
        assert index.add(tree).points > 0


@pytest.mark.parametrize(
    ("said", "why"),
    [('{"format": 99}', "newer vecloom"), ("{", "cannot be read"), ('{"format": 1}', "cannot be read")],
)
def test_an_index_that_cannot_be_read_says_so(
    said: str, why: str, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, config=tiny_config) as index:
        index.add(tree)
    (folder / "index.json").write_text(said, "utf-8")
    with pytest.raises(IndexFormatError, match=why):
        Index.open(folder, config=tiny_config)
    Index.rebuild(folder, Asked(), tree, config=tiny_config)
    with Index.open(folder, config=tiny_config) as index:
        assert index.search("weave")


def test_no_index_is_no_index(tmp_path: Path, tiny_config: Config) -> None:
    with pytest.raises(IndexFormatError, match="holds no index"):
        Index.open(tmp_path, config=tiny_config)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("keep me", "utf-8")
    with pytest.raises(UsageError, match="not empty"):
        Index.create(tmp_path / "full", config=tiny_config)


def test_an_index_inside_its_tree_does_not_index_itself(tree: Path, tiny_config: Config) -> None:
    with Index.create(tree / ".index", config=tiny_config) as index:
        assert index.add(tree).files == index.add(tree).files == 3


def test_records_of_a_jsonl_file_are_documents(tmp_path: Path, tiny_config: Config) -> None:
    file = tmp_path / "corpus.jsonl"
    rows = [{"_id": "d1", "title": "Looms", "text": "A loom weaves."}, {"_id": "d2", "text": "Nothing here."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(file)
        hit = index.search("loom", using=["bm25"])[0]
        assert (hit.path, hit.breadcrumb, hit.text) == ("d1", "Looms", "A loom weaves.")
        file.write_text(json.dumps(rows[1]) + "\n", "utf-8")
        index.add(file)
        assert index.status().points == 1


def test_a_root_that_moved_keeps_its_name_by_source(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree, source="mine")
        before = contents(index)
        tree.rename(tmp_path / "elsewhere")
        report = index.add(tmp_path / "elsewhere", source="mine")
        assert report.unchanged == 3 and contents(index) == before


def test_missing_roots_are_named(tmp_path: Path, tiny_config: Config) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        with pytest.raises(UsageError, match="does not exist"):
            index.add(tmp_path / "nowhere")
        with pytest.raises(UsageError, match="one source"):
            index.add(tmp_path, tmp_path / "index", source="both")


def test_an_unreadable_model_row_stops_before_anything_is_made(tmp_path: Path, tiny_config: Config) -> None:
    broken = replace(tiny_config, folders={str(spec.weights_id): tmp_path for spec in tiny_config.models})
    with pytest.raises(VecloomError):
        Index.create(tmp_path / "index", config=broken)
    assert not (tmp_path / "index").exists()


def test_stored_vectors_are_of_unit_length(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    for _, vectors in fresh(tmp_path / "index", tiny_config, tree).values():
        assert np.linalg.norm(vectors["qdrant-minilm"]) == pytest.approx(1, abs=1e-5)


def test_a_further_model_that_cannot_be_used_changes_nothing(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "index"
    with Index.create(folder, config=tiny_config) as index:
        index.add(tree)
    before = (folder / "index.json").read_text("utf-8")
    with pytest.raises(WeightsError, match="no origin has the files of nomic-coderank"):
        Index.prepare(folder, Asked(("minilm", "bm25-code", "nomic-coderank")), config=tiny_config)
    assert (folder / "index.json").read_text("utf-8") == before
    with pytest.raises(WeightsError, match="no origin has the files of bge-m3"):
        Index.create(tmp_path / "other", ["bge-m3"], config=tiny_config)
    assert not (tmp_path / "other").exists()


def test_an_open_index_follows_what_others_change(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, ["bm25"], chunk_tokens=128, config=tiny_config) as old:
        old.add(tree)
        Index.rebuild(folder, Asked(("bm25", "minilm"), chunk_tokens=64), config=tiny_config)
        assert set(old.search("weave")[0].legs) == {"bm25", "qdrant-minilm"}
        (tree / "new.md").write_text("# New\n\n" + "Some more words to cut.\n" * 60, "utf-8")
        report = old.add(tree)
        assert report.new > 1 and 0 < report.encoded["qdrant-minilm"] <= report.new
        clean = tmp_path / "clean"
        with Index.create(clean, ["bm25", "minilm"], chunk_tokens=64, config=tiny_config) as fresh_index:
            fresh_index.add(tree)
            assert contents(old) == contents(fresh_index)


def test_a_rebuild_inside_its_tree_does_not_index_the_index(tree: Path, tiny_config: Config) -> None:
    with Index.create(tree / "idx", config=tiny_config) as index:
        points = index.add(tree).points
    assert Index.rebuild(tree / "idx", Asked(), config=tiny_config).points == points


def test_words_are_searched_without_the_other_models_files(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    folder = tmp_path / "index"
    with Index.create(folder, config=tiny_config) as index:
        index.add(tree)
    nothing = {str(spec.weights_id): tmp_path / "gone" for spec in tiny_config.models}
    with Index.open(folder, config=replace(tiny_config, folders=nothing)) as index:
        assert index.search("weave", using=["bm25"])[0].path == "docs/guide.md"
        with pytest.raises(VecloomError):
            index.search("weave")


def test_a_search_with_other_weights_is_refused(tree: Path, tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home)
    config = load_config(file=home / "config.toml", data_dir=tmp_path, cache_dir=home / "cache", environ={})
    with Index.create(tmp_path / "index", config=config) as index:
        index.add(tree)
    make_tiny_bert(home / "tiny", max_position_embeddings=500)
    with Index.open(tmp_path / "index", config=config) as index:
        with pytest.raises(IndexMismatchError, match="files of"):
            index.search("weave")
        assert index.search("weave", using=["bm25"])


def test_a_name_is_not_taken_from_a_root_that_is_there(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    (tmp_path / "other").mkdir()
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        with pytest.raises(UsageError, match="is the source tree already"):
            index.add(tree, source="again")
        with pytest.raises(UsageError, match="still there"):
            index.add(tmp_path / "other", source="tree")


def test_damage_anywhere_in_the_file_cache_is_mended(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    for number in range(300):
        (tree / f"file{number}.md").write_text(f"# {number}\n", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        path = tmp_path / "index" / "files.db"
        data = bytearray(path.read_bytes())
        data[8192:] = b"\xff" * (len(data) - 8192)
        path.write_bytes(bytes(data))
        assert not index.add(tree).encoded
        assert contents(index) == before


def test_a_file_cache_that_breaks_during_a_run_is_removed_and_said(tmp_path: Path) -> None:
    states = FileStates(tmp_path, "uid")
    with closing(sqlite3.connect(tmp_path / "files.db")) as other:
        other.execute("DROP TABLE files")
    with pytest.raises(StoreError, match="run again"):
        states.hashes("tree")
    with closing(FileStates(tmp_path, "uid")) as anew:
        assert anew.blank and anew.hashes("tree") == {}


def test_a_text_under_another_heading_is_encoded_anew(tmp_path: Path, tiny_config: Config) -> None:
    root = tmp_path / "notes"
    root.mkdir()
    part = f"## Part\n\n{'word ' * 200}\n"
    (root / "a.md").write_text(f"# Before\n\n{'intro ' * 200}\n\n{part}", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(root)
        before = {point: payload["header"] for point, (payload, _) in contents(index).items()}
        (root / "a.md").write_text(f"# After\n\n{'intro ' * 200}\n\n{part}", "utf-8")
        index.add(root)
        after = {point: payload["header"] for point, (payload, _) in contents(index).items()}
        assert any(before[point] != after[point] for point in before.keys() & after.keys())
        assert contents(index) == fresh(tmp_path / "clean", tiny_config, root)


def test_an_open_index_takes_the_weights_of_a_rebuild(tree: Path, tiny_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny_home, home)
    config = load_config(file=home / "config.toml", data_dir=tmp_path, cache_dir=home / "cache", environ={})
    with Index.create(tmp_path / "index", ["minilm"], config=config) as old:
        old.add(tree)
        old.search("weave")
        shutil.rmtree(home / "tiny")
        make_tiny_bert(home / "tiny", max_position_embeddings=500)
        Index.rebuild(tmp_path / "index", Asked(), config=config)
        with Index.open(tmp_path / "index", config=config) as new:
            assert old.search("weave") == new.search("weave")
