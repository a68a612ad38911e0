"""A tree that is gone as a whole: its points are kept and hidden, and found again when it is back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Vecloom
from qdrant_standin import Standin
from stored import contents
from vecloom import carry
from vecloom.config import Config
from vecloom.errors import UsageError
from vecloom.index import Index
from vecloom.pipeline import absence, storing
from vecloom.pipeline.absence import absence_reason, is_empty, mark_of
from vecloom.pipeline.manifest import load_manifest
from vecloom.pipeline.states import RootMark
from vecloom.recipe import Asked
from vecloom.sources import File, Skip, read

WORDS = ["bm25-code"]
FILES = 110


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    for number in range(FILES):
        (root / "src" / f"f{number}.py").write_text(f"def weave{number}():\n    return 'thread'\n", "utf-8")
    return root


@pytest.fixture
def other(tmp_path: Path) -> Path:
    root = tmp_path / "other"
    root.mkdir()
    (root / "spin.py").write_text("def spin():\n    return 'thread'\n", "utf-8")
    return root


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """A folder, or the stand-in for a server."""
    if getattr(request, "param", "folder") == "folder":
        yield tmp_path / "index"
        return
    with Standin() as server:
        yield server.url


def unmount(tree: Path) -> Path:
    """Leave the root empty; returns where its contents are now."""
    away = tree.with_name("away")
    tree.rename(away)
    tree.mkdir()
    return away


def mount(tree: Path, away: Path) -> None:
    shutil.rmtree(tree)
    away.rename(tree)


def sources_found(index: Index) -> set[str]:
    return {hit.source for hit in index.search("thread", 200, per_file=9)}


@pytest.mark.parametrize("place", ["folder", "server"], indirect=True)
def test_an_emptied_root_deletes_nothing_and_hides_it(
    place: str | Path, tree: Path, other: Path, tiny_config: Config
) -> None:
    with Index.create(place, WORDS, config=tiny_config) as index:
        index.add(tree, other)
        before = contents(index)
        away = unmount(tree)
        for _ in range(2):
            report = index.add(tree)
            assert report.deleted == report.gone == 0 and report.points == len(before) == FILES + 1
            assert report.absent["tree"].files == FILES and report.absent["tree"].reason == "is empty"
            assert sources_found(index) == {"other"}
            assert index.search("thread", filters={"source": "tree"}) == []
            assert index.search("weave7", filters={"path": "src/*"}) == []
            assert index.status().absent == index.absent == ("tree",)
        mount(tree, away)
        report = index.add(tree)
        assert report.unchanged == FILES and not report.absent and not report.encoded and report.new == 0
        assert contents(index) == before and index.absent == ()
        assert sources_found(index) == {"tree", "other"}


@pytest.mark.parametrize("place", ["folder", "server"], indirect=True)
def test_what_is_there_in_the_root_is_found(place: str | Path, tree: Path, tiny_config: Config) -> None:
    """The root lies elsewhere now, with new files, and a few of the old ones: those are hits."""
    with Index.create(place, WORDS, config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        away = unmount(tree)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(absence, "mark_of", lambda root: RootMark(mark_of(root).device + 1, False))
            (tree / "new.py").write_text("def brand_new():\n    return 'thread'\n", "utf-8")
            (tree / "src").mkdir()
            shutil.copyfile(away / "src" / "f0.py", tree / "src" / "f0.py")
            (tree / "src" / "f1.py").write_text("def weave1():\n    return 'changed thread'\n", "utf-8")
            for _ in range(2):
                report = index.add(tree)
                assert report.absent["tree"].files == FILES - 2
                hits = {hit.path for hit in index.search("thread", 200)}
                assert hits == {"new.py", "src/f0.py", "src/f1.py"}
            assert report.absent["tree"].reason == "lies on another device than before"
        mount(tree, away)
        index.add(tree)
        assert contents(index) == before and index.absent == ()


def test_files_that_are_deleted_in_a_root_that_is_there_are_deleted(tree: Path, tiny_config: Config) -> None:
    (tree / ".git").mkdir()
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/main\n", "utf-8")
    with Index.create(tree.with_name("index"), WORDS, config=tiny_config) as index:
        index.add(tree)
        shutil.rmtree(tree / "src")  # a branch without files, say: the repository is there
        report = index.add(tree)
        assert report.gone == FILES and not report.absent and report.points == 0


def test_few_files_are_deleted_from_an_empty_root(tree: Path, tiny_config: Config) -> None:
    for path in sorted((tree / "src").iterdir())[: FILES - 99]:
        path.unlink()
    with Index.create(tree.with_name("index"), WORDS, config=tiny_config) as index:
        index.add(tree)
        unmount(tree)
        report = index.add(tree)
        assert report.gone == 99 and report.points == 0 and not report.absent


def test_a_root_without_its_git_keeps_what_is_gone(tree: Path, tiny_config: Config) -> None:
    (tree / ".git" / "objects").mkdir(parents=True)
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/main\n", "utf-8")
    with Index.create(tree.with_name("index"), WORDS, config=tiny_config) as index:
        index.add(tree)
        away = unmount(tree)
        (tree / "README").write_text("nothing is mounted here\n", "utf-8")
        assert index.add(tree).absent["tree"].reason == "has lost its .git"
        mount(tree, away)
        (tree / ".git").rename(tree / "git-is-here")
        shutil.rmtree(tree / "src")
        (tree / "README").write_text("mounted\n", "utf-8")
        report = index.add(tree)
        assert not report.absent and report.gone == FILES and index.absent == ()


def test_the_reasons(tree: Path, tmp_path: Path) -> None:
    now = mark_of(tree)
    elsewhere, with_git = RootMark(now.device + 1, False), RootMark(now.device, True)
    assert absence_reason(tree, now, FILES, FILES) == absence_reason(tree, None, FILES, FILES) == ""
    assert "device" in absence_reason(tree, elsewhere, 1000, 900)
    assert absence_reason(tree, elsewhere, 1000, 899) == absence_reason(tree, elsewhere, 99, 99) == ""
    assert ".git" in absence_reason(tree, with_git, 100, 100)
    (tree / ".git").write_text("gitdir: elsewhere\n", "utf-8")  # a worktree has a file
    assert absence_reason(tree, with_git, 100, 100) == ""
    empty = tmp_path / "empty"
    (empty / "lost+found").mkdir(parents=True)
    (empty / ".DS_Store").write_bytes(b"x")
    assert is_empty(empty) and absence_reason(empty, None, 100, 100) == "is empty"
    records = tmp_path / "records.jsonl"
    records.touch()
    assert is_empty(records)


def test_yes_deletes_and_status_names_both_ways_out(vecloom: Vecloom, tree: Path, other: Path) -> None:
    assert vecloom("index", tree, other, "--index", "index", "--models", "bm25-code").code == 0
    away = unmount(tree)
    kept = vecloom("index", tree, "--index", "index")
    (line,) = [line for line in kept.err.splitlines() if "hidden" in line]
    assert (
        kept.code == 0 and f"{FILES} files of tree are gone" in line and f"vecloom index {tree} --yes" in line
    )
    status = vecloom("status", "--index", "index").out
    assert f"vecloom index {tree} --yes" in status and status.count("hidden") == 1
    assert vecloom("status", "--index", "index", "--json").rows[0]["absent"] == ["tree"]
    found = vecloom("search", "thread", "--index", "index")
    assert "spin.py" in found.out and "f7.py" not in found.out and "tree (see vecloom status)" in found.err
    # Nor does a rebuild lose it.
    rebuilt = vecloom("index", "--rebuild", "--index", "index")
    assert rebuilt.code == 2 and "stays as it was" in rebuilt.err and len(rebuilt.err.splitlines()) == 1
    mount(tree, away)
    assert vecloom("index", tree, "--index", "index").code == 0
    assert vecloom("index", "--rebuild", "--index", "index").code == 0
    unmount(tree)
    deleted = vecloom("index", tree, "--index", "index", "--yes")
    assert deleted.code == 0 and f"{FILES} gone" in deleted.err and "hidden" not in deleted.err
    assert load_manifest(Path("index")).absent == ()


def test_a_source_that_is_forgotten_is_not_absent(tree: Path, tiny_config: Config) -> None:
    with Index.create(tree.with_name("index"), WORDS, config=tiny_config) as index:
        index.add(tree)
        unmount(tree)
        assert index.add(tree).absent
        assert index.remove("tree") == FILES and index.absent == ()


def test_a_rebuild_without_what_is_gone_has_to_be_said(tree: Path, tiny_config: Config) -> None:
    folder = tree.with_name("index")
    with Index.create(folder, WORDS, config=tiny_config) as index:
        index.add(tree)
    unmount(tree)
    with pytest.raises(UsageError, match="is empty: the index stays"):
        Index.rebuild(folder, Asked(), config=tiny_config)
    assert Index.rebuild(folder, Asked(), delete_gone=True, config=tiny_config).points == 0


def test_a_pack_shows_again_what_was_hidden(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    carry.embed(tmp_path / "pack", tree, models=WORDS, config=tiny_config)
    with Index.create(tmp_path / "index", WORDS, config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        unmount(tree)
        index.add(tree)
        carry.load(tmp_path / "pack", tmp_path / "index", config=tiny_config)
        assert index.status().absent == () and contents(index) == before


def test_a_pack_is_not_emptied_by_an_empty_tree(vecloom: Vecloom, tree: Path) -> None:
    assert vecloom("embed", tree, "--out", "pack", "--models", "bm25-code").code == 0
    unmount(tree)
    refused = vecloom("embed", tree, "--out", "pack")
    assert refused.code == 2 and f"{FILES} documents of tree" in refused.err and "--yes" in refused.err
    assert vecloom("embed", tree, "--out", "pack", "--yes").code == 0


def test_a_file_that_cannot_be_read_when_its_tree_is_back_is_shown_too(
    tree: Path, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: File) -> bytes | Skip:
        return Skip(file.path, "permission") if file.path == "src/f7.py" else read(file)

    with Index.create(tmp_path / "index", WORDS, config=tiny_config) as index:
        index.add(tree)
        before = contents(index)
        away = unmount(tree)
        index.add(tree)
        assert "tree" in index.absent
        mount(tree, away)
        monkeypatch.setattr(storing, "read", refuse)
        index.add(tree)
        assert "tree" not in index.absent
        assert contents(index) == before
