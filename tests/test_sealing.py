"""Sealing in the course of an index run: early, without a word lost, and never at the cost of the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stored import contents, fresh
from vecloom.config import Config
from vecloom.index import Index
from vecloom.pipeline import filling, sealing, storing
from vecloom.pipeline.manifest import load_manifest
from vecloom.pipeline.report import Progress
from vecloom.stores import optimise
from vecloom.stores.edge import EdgeStore


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(12):
        (root / f"note{number}.md").write_text(f"# Note {number}\n\nRetry number {number}.\n", "utf-8")
    return root


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of four chunks, and a shard that is sealed from four points outside on."""
    monkeypatch.setattr(storing, "WINDOW_CHUNKS", 4)
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 4)
    monkeypatch.setattr(sealing, "OPTIMISE_POINTS", 4)


@pytest.mark.usefixtures("small_steps")
def test_a_shard_is_sealed_whenever_enough_points_lie_outside(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    events: list[Progress] = []
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        report = index.add(tree, listener=events.append)
        with index._home.access.open("count") as store:
            assert isinstance(store, EdgeStore)
            assert store.indexed() == report.points == 12
        assert contents(index) == contents_of_a_run_without_sealing(tree, tmp_path, tiny_config)
        assert load_manifest(index.folder).shard != "shard-1"
    steps = [event.step for event in events]
    first, last = steps.index("optimise"), len(steps) - 1 - steps[::-1].index("optimise")
    assert first < steps.index("encode") < last, "while the tree is read, and again while it is encoded"
    assert steps.count("optimise") >= 4 and report.unsealed == ""


def contents_of_a_run_without_sealing(tree: Path, tmp_path: Path, config: Config) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "OPTIMISE_POINTS", 1000)
        return fresh(tmp_path / "clean", config, tree)


@pytest.mark.usefixtures("small_steps")
def test_a_disk_without_room_for_the_copy_ends_no_run(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimise, "_SIZES", 1 << 40)
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        report = index.add(tree)
        assert "free" in report.unsealed and "make room" in report.unsealed
        assert index.incomplete == () and index.search("retry number 3")
        assert load_manifest(index.folder).shard == "shard-1"
        monkeypatch.undo()
        monkeypatch.setattr(sealing, "OPTIMISE_POINTS", 4)
        assert index.add(tree).unsealed == "", "a run that finds room again"
        assert load_manifest(index.folder).shard == "shard-2"


@pytest.mark.usefixtures("small_steps")
def test_few_points_beside_many_are_not_worth_a_copy(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        before = load_manifest(index.folder).shard
        monkeypatch.setattr(sealing, "OPTIMISE_POINTS", 1)
        (tree / "more.md").write_text("# More\n\nOne more.\n", "utf-8")
        index.add(tree)
        assert load_manifest(index.folder).shard == before
