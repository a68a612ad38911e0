"""Read-only mounts, folders of other users, and caches that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import semble_grammars.loader

from commands import Commands
from stored import contents
from test_bad_input import mind_modes
from vecloom.chunking import grammars, unpacking
from vecloom.config import Config
from vecloom.errors import StoreBusyError, StoreError
from vecloom.index import Index
from vecloom.lock import FileLock
from vecloom.stores import read_only
from vecloom.stores.access import is_read_only

WORDS = ["bm25-code"]

_CAN_MOUNT = (
    sys.platform == "linux"
    and shutil.which("unshare") is not None
    and subprocess.run(
        ["unshare", "-m", "mount", "--bind", "/tmp", "/tmp"], check=False, capture_output=True
    ).returncode
    == 0
)
mounts = pytest.mark.skipif(not _CAN_MOUNT, reason="needs unshare -m, as root on Linux")

#: Mounts the folder $1 read-only and runs the rest of its arguments.
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("weave", "spin"):
        (root / f"{name}.py").write_text(f'def {name}():\n    return "thread"\n', "utf-8")
    return root


@pytest.fixture
def folder(tree: Path, tmp_path: Path, tiny_config: Config) -> Path:
    with Index.create(tmp_path / "index", WORDS, config=tiny_config) as index:
        index.add(tree)
    return tmp_path / "index"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are made: it is empty in the end."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


def mounted(
    mount: Path, environ: Mapping[str, str], *command: str | Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """A ``vecloom`` command that sees the folder ``mount`` read-only."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("VECLOOM_")}
    return subprocess.run(
        [
            *("unshare", "-m", "bash", "-c", _READ_ONLY, "bash", str(mount)),
            *(sys.executable, "-m", "vecloom", *map(str, command)),
        ],
        env={**own, **environ},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
        **options,
    )


def told(run: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in run.stderr.splitlines() if "replaces the built-in row" not in line]


@mounts
def test_an_index_on_a_read_only_mount_is_searched_exported_and_looked_at(
    tiny_environ: dict[str, str], folder: Path, tree: Path, tmp_path: Path, temporary: Path
) -> None:
    before = sorted(path.name for path in folder.rglob("*"))
    environ = tiny_environ | {"TMPDIR": str(temporary)}
    found = mounted(folder, environ, "search", "weave", "--index", folder, "--json")
    assert found.returncode == 0 and json.loads(found.stdout.splitlines()[0])["path"] == "weave.py"
    assert told(found) == []
    looked = mounted(folder, environ, "status", "--index", folder, "--json")
    assert looked.returncode == 0 and json.loads(looked.stdout)["points"] == 2
    out = tmp_path / "points.jsonl"
    written = mounted(folder, environ, "export", folder, "--format", "jsonl", "--out", out)
    assert written.returncode == 0 and len(out.read_text("utf-8").splitlines()) == 2
    refused = mounted(folder, environ, "index", tree, "--index", folder)
    assert refused.returncode == 1 and len(told(refused)) == 1 and "Read-only file system" in refused.stderr
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_an_index_of_another_user_is_searched(
    tiny_environ: dict[str, str], folder: Path, tree: Path, tmp_path: Path, temporary: Path
) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    vecloom = Commands(tiny_environ | {"TMPDIR": str(temporary)}, tmp_path)
    try:
        found = vecloom.run("search", "weave", "--index", folder, "--json", preexec_fn=mind_modes)
        assert found.returncode == 0 and json.loads(found.stdout.splitlines()[0])["path"] == "weave.py"
        refused = vecloom.run("index", tree, "--index", folder, preexec_fn=mind_modes)
        assert refused.returncode == 1 and "cannot be written" in refused.stderr
        (folder / "shard-1").chmod(0)
        hidden = vecloom.run("search", "weave", "--index", folder, preexec_fn=mind_modes)
        assert hidden.returncode == 1 and len(told(hidden)) == 1 and str(folder / "shard-1") in hidden.stderr
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700)


@pytest.fixture
def sealed_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """All folders look as if this user might only read them."""
    monkeypatch.setattr("vecloom.pipeline.home.is_read_only", lambda _folder: True)


def test_a_copy_is_made_once_and_again_after_a_change(
    folder: Path, tree: Path, tiny_config: Config, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_only, "_LARGE", 1)
    notices: list[str] = []
    with Index.open(folder, config=tiny_config) as writer:
        monkeypatch.setattr("vecloom.pipeline.home.is_read_only", lambda _folder: True)
        with Index.open(folder, config=tiny_config, notice=notices.append) as reader:
            assert {hit.path for hit in reader.search("thread")} == {"weave.py", "spin.py"}
            assert contents(reader) == contents(writer)  # while the writer has the shard open
            assert len(notices) == 1 and str(folder) in notices[0]
            (tree / "knit.py").write_text('def knit():\n    return "thread"\n', "utf-8")
            writer.add(tree)
            assert {hit.path for hit in reader.search("thread")} == {"weave.py", "spin.py", "knit.py"}
            assert len(notices) == 2 and len(list(temporary.iterdir())) == 1
        with pytest.raises(StoreError, match="cannot be opened") as error:
            next(folder.glob("shard-*/segments/*/segment.json")).write_bytes(b"")
            with Index.open(folder, config=tiny_config) as reader:
                reader.search("thread")
        assert str(folder / "shard-1") in str(error.value) and str(temporary) not in str(error.value)


def test_a_shard_that_is_being_written_is_not_copied_halfway(
    folder: Path, tiny_config: Config, temporary: Path, sealed_off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_only, "_PATIENCE", 0.2)
    lock = FileLock(folder / "shard.lock")
    assert lock.acquire()
    (folder / "shard-1" / "unflushed").touch()
    with Index.open(folder, config=tiny_config) as reader:
        with pytest.raises(StoreBusyError, match="being written"):
            reader.search("thread")
        lock.release()  # what a killed writer left is replayed in the copy
        assert reader.search("thread")


def test_copies_of_killed_processes_are_removed(
    folder: Path, tiny_config: Config, temporary: Path, sealed_off: None
) -> None:
    dead, alive = temporary / "vecloom-read-dead", temporary / "vecloom-read-alive"
    for place in (dead, alive):
        place.mkdir()
        (place / "shard.lock").touch()
    lock = FileLock(alive / "shard.lock")
    assert lock.acquire()
    with Index.open(folder, config=tiny_config) as reader:
        assert reader.search("thread")
        assert not dead.exists() and alive.exists()
    lock.release()
    shutil.rmtree(alive)


def test_a_folder_that_can_be_written_is_used_in_place(folder: Path, tmp_path: Path) -> None:
    assert not is_read_only(folder)
    assert not is_read_only(tmp_path / "not there yet")


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A path below a file: nobody, root included, can make a folder there."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "cache"


def test_models_run_where_the_cache_cannot_be_written(
    tree: Path, tmp_path: Path, tiny_config: Config, nowhere: Path
) -> None:
    config = replace(tiny_config, cache_dir=nowhere)
    with Index.create(tmp_path / "index", config=config) as index:
        assert index.add(tree).encoded["qdrant-minilm"] == 2
        assert index.search("weave")[0].path == "weave.py"


@mounts
def test_what_pull_makes_serves_a_read_only_cache(
    tiny_environ: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    environ = tiny_environ | {"VECLOOM_CACHE_DIR": str(cache), "HOME": str(tmp_path / "file" / "home")}
    environ |= {"SEMBLE_GRAMMARS_CACHE_DIR": "", "XDG_CACHE_HOME": ""}
    (tmp_path / "file").touch()
    pulled = Commands(environ, tmp_path).run("models", "pull", "qdrant-minilm-onnx", "bm25-code")
    assert pulled.returncode == 0, pulled
    assert list(cache.glob("graphs/*.onnx")) and len(list(cache.glob("grammars/*/*/*"))) > 50
    made = mounted(cache, environ, "index", tree, "--index", tmp_path / "index")
    assert made.returncode == 0 and "chunked by lines" not in made.stderr, made
    found = mounted(cache, environ, "search", "weave", "--index", tmp_path / "index", "--json")
    assert found.returncode == 0 and json.loads(found.stdout.splitlines()[0])["breadcrumb"] == "weave"
    looked = mounted(cache, environ, "doctor")
    assert looked.returncode == 0 and "ok   cache folder" in looked.stdout, looked
    again = mounted(cache, environ, "models", "pull", "qdrant-minilm-onnx", "bm25-code")
    assert again.returncode == 0 and not any("cannot" in line or "fetch" in line for line in told(again))


def test_grammars_that_cannot_be_unpacked_are_told_once_with_what_to_do(
    tiny_environ: dict[str, str], tree: Path, tmp_path: Path, nowhere: Path
) -> None:
    (tree / "loom.rs").write_text("fn weave() {}\n", "utf-8")
    environ = tiny_environ | {"VECLOOM_CACHE_DIR": str(nowhere), "HOME": str(nowhere)}
    environ |= {"SEMBLE_GRAMMARS_CACHE_DIR": "", "XDG_CACHE_HOME": ""}
    vecloom = Commands(environ, tmp_path)
    made = vecloom.run("index", tree, "--index", tmp_path / "index", "--models", "bm25-code")
    assert made.returncode == 0 and "chunked by lines: cannot unpack the grammar 'python'" in made.stderr
    for name in ("VECLOOM_CACHE_DIR", "SEMBLE_GRAMMARS_CACHE_DIR"):
        assert made.stderr.count(name) == 1
    looked = vecloom.run("doctor")
    (line,) = [line for line in looked.stdout.splitlines() if "grammars:" in line]
    assert line.startswith("FAIL") and "VECLOOM_CACHE_DIR or SEMBLE_GRAMMARS_CACHE_DIR" in line


def test_grammars_lie_where_the_user_says_or_where_they_are_unpacked(
    tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_ours", None)
    monkeypatch.setenv(unpacking.VARIABLE, str(tmp_path / "named"))
    unpacking.use_cache(tmp_path / "cache")
    assert os.environ[unpacking.VARIABLE] == str(tmp_path / "named")
    monkeypatch.delenv(unpacking.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "default"))
    unpacking.use_cache(nowhere)
    semble_grammars.loader.get_language.cache_clear()
    monkeypatch.setattr(grammars, "_threads", threading.local())
    assert grammars.parse(b"x = 1\n", "python").type == "module"  # where semble-grammars has it by itself
    assert list((tmp_path / "default").rglob("*python*")) and os.environ[unpacking.VARIABLE].startswith(
        str(nowhere)
    )
