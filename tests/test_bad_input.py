"""Bad input through the real command line: a clear line or a count, the right exit code, the rest indexed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Commands
from stored import contents, differences, fresh
from vecloom.config import Config
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest
from vecloom.pipeline.report import Progress
from vecloom.pipeline.writer import writing
from vecloom.stores.room import MARGIN, reserve

if sys.platform == "win32":
    pytest.skip("file names, modes and links of POSIX", allow_module_level=True)

#: linux/prctl.h and linux/capability.h.
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def vecloom(tiny_environ: dict[str, str], tmp_path: Path) -> Commands:
    return Commands(tiny_environ, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "good.py").write_text('def weave():\n    return "thread"\n', "utf-8")
    return root


def mind_modes() -> None:
    """Let the modes of files count for root too; for `subprocess.Popen`'s ``preexec_fn``."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError("this root may not drop capabilities")


def one_line(run: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """A command that failed with ``code`` and one line, which holds all of ``said``."""
    lines = [line for line in run.stderr.splitlines() if "replaces the built-in row" not in line]
    assert run.returncode == code and len(lines) == 1 and not run.stdout, run
    assert lines[0].startswith("vecloom: ") and all(part in lines[0] for part in said), lines


def paths(run: subprocess.CompletedProcess[str]) -> set[str]:
    """Paths of the hits of a ``search --json``."""
    assert run.returncode == 0, run
    return {json.loads(line)["path"] for line in run.stdout.splitlines()}


def odd_files(root: Path) -> dict[str, str]:
    """Files that are not indexed -> the reason that is told; beside them stand some that are, oddly."""
    wide = "a shuttle in sixteen bits\n"
    (root / "utf16.txt").write_bytes(wide.encode("utf-16"))
    (root / "utf16-bare.txt").write_bytes(wide.encode("utf-16-le"))
    (root / "bad-bytes.txt").write_bytes("café ".encode() * 20 + b"\xff\xfe and a bobbin")
    (root / "garbage.txt").write_bytes(bytes(range(128, 256)) * 20)
    (root / "nul.txt").write_bytes(b"warp\0weft\0" * 10)
    (root / "broken.ipynb").write_text('{"cells": [', "utf-8")
    (root / "empty.txt").touch()
    (root / "new\nline.txt").write_text("a heddle\n", "utf-8")
    (root / "escape\x1b[31m.txt").write_text("a reed \x1b[31m that is red\n", "utf-8")
    Path(os.fsdecode(os.fsencode(root) + b"/undecod\xffable.txt")).write_text("a treadle\n", "utf-8")
    (root / "loop").symlink_to(".")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    (root / "outside").symlink_to("..")
    os.mkfifo(root / "pipe.txt")
    with (root / "huge.txt").open("wb") as huge:
        huge.truncate(2 << 30)
    return {
        "garbage.txt": "encoding",
        "nul.txt": "binary",
        "broken.ipynb": "broken notebook",
        "empty.txt": "empty",
        "loop": "link inside",
        "one": "broken link",
        "two": "broken link",
        "outside": "link outside",
        "pipe.txt": "special file",
        "huge.txt": "too large",
    }


def test_odd_files_are_counted_and_listed_and_the_rest_is_found(vecloom: Commands, tree: Path) -> None:
    skipped = odd_files(tree)
    quiet = vecloom.run("index", tree, "--index", "index")
    assert quiet.returncode == 0
    assert "7 files (0 unchanged, 0 gone)" in quiet.stderr and "not in UTF-8: 3" in quiet.stderr
    counted = re.search(r"skipped: (.*) \(--verbose lists them\)", quiet.stderr)
    assert counted is not None
    reasons = list(skipped.values())
    assert set(counted[1].split(", ")) == {f"{reasons.count(reason)} {reason}" for reason in reasons}
    listed = vecloom.run("index", tree, "--index", "index", "--verbose", "--strict")
    assert listed.returncode == 1
    for name, reason in skipped.items():
        assert f"    {name}: {reason}" in listed.stderr
    for word, path in {
        "thread": "good.py",
        "shuttle": "utf16.txt",
        "bobbin": "bad-bytes.txt",
        "heddle": "new\nline.txt",
        "reed": "escape\x1b[31m.txt",
        "treadle": "undecod\\xffable.txt",
    }.items():
        assert path in paths(vecloom.run("search", word, "--index", "index", "--using", "bm25", "--json"))


def test_a_listing_cannot_drive_a_terminal(vecloom: Commands, tree: Path) -> None:
    odd_files(tree)
    vecloom.run("index", tree, "--index", "index")
    shown = vecloom.run("search", "heddle reed treadle", "--index", "index", "--using", "bm25")
    assert shown.returncode == 0 and "\x1b" not in shown.stdout
    heads = [line for line in shown.stdout.splitlines() if not line.startswith("    ")]
    assert {head.split(":")[0] for head in heads} == {
        "tree/new\\x0aline.txt",
        "tree/escape\\x1b[31m.txt",
        "tree/undecod\\xffable.txt",
    }
    assert "    a reed \\x1b[31m that is red" in shown.stdout.splitlines()


def test_a_terminal_that_lacks_a_character(vecloom: Commands, tree: Path) -> None:
    (tree / "naïve.txt").write_text("a spindle … and a café\n", "utf-8")
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    vecloom.environ["PYTHONIOENCODING"] = "ascii"
    search = ("search", "spindle", "--index", "index", "--using", "bm25")
    shown = vecloom.run(*search)
    assert shown.returncode == 0 and "tree/na\\xefve.txt:1-1" in shown.stdout
    assert paths(vecloom.run(*search, "--json")) == {"naïve.txt"}
    rows = [json.loads(line) for line in vecloom.run("chunk", tree).stdout.splitlines()]
    assert {row["text"] for row in rows} >= {"a spindle … and a café\n"}


def test_a_root_whose_name_cannot_be_decoded(vecloom: Commands, tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xfftree\x1b"))
    root.mkdir()
    (root / "note.txt").write_text("a spindle\n", "utf-8")
    assert vecloom.run("index", root).returncode == 0
    assert paths(vecloom.run("search", "spindle", "--json")) == {"note.txt"}
    for command in (["status"], ["search", "spindle"]):
        shown = vecloom.run(*command)
        assert shown.returncode == 0 and "r\\udcfftree\\x1b" in shown.stdout and "\x1b" not in shown.stdout
    status = vecloom.run("status", "--json")
    (name,) = json.loads(status.stdout)["sources"]
    assert name == "r\\xfftree\x1b"
    assert vecloom.run("index", "--remove", name).returncode == 0


def test_a_line_of_twenty_thousand_words_is_cut_into_whole_chunks(
    vecloom: Commands, tree: Path, tmp_path: Path
) -> None:
    text = "".join(f"word{number} " for number in range(20_000)) + "selvedge\n"
    (tree / "line.txt").write_text(text, "utf-8")
    (tree / "line.py").write_text(f"words = {text.split()}\n", "utf-8")
    done = vecloom.run("chunk", tree, "--out", "chunks.jsonl")
    assert done.returncode == 0 and done.stderr.startswith("3 files, ")
    rows = [json.loads(line) for line in (tmp_path / "chunks.jsonl").read_text("utf-8").splitlines()]
    for path in ("line.txt", "line.py"):
        pieces = [row for row in rows if row["path"] == path]
        assert len(pieces) > 100 and {row["start_line"] for row in pieces} == {1}
        assert "".join(row["text"] for row in pieces) == (tree / path).read_text("utf-8")
    run = vecloom.run("index", tree, "--index", "index")
    assert run.returncode == 0 and "qdrant-minilm: " in run.stderr and "tokens dropped" not in run.stderr
    assert paths(vecloom.run("search", "selvedge", "--index", "index", "--using", "bm25", "--json")) == {
        "line.txt",
        "line.py",
    }


def test_an_empty_tree_is_an_empty_index(vecloom: Commands, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    run = vecloom.run("index", "nothing")
    assert run.returncode == 0 and "0 files" in run.stderr and "0 chunks stored" in run.stderr
    found = vecloom.run("search", "anything")
    assert (found.returncode, found.stdout) == (0, "") and "nothing found" in found.stderr
    assert vecloom.run("status", "--json").returncode == 0


def test_what_may_not_be_read_is_counted_and_what_is_stored_of_it_stays(
    vecloom: Commands, tree: Path
) -> None:
    (tree / "closed").mkdir()
    (tree / "closed" / "inner.txt").write_text("a shuttle\n", "utf-8")
    (tree / "file.txt").write_text("a bobbin\n", "utf-8")
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    for path in (tree / "closed", tree / "file.txt"):
        path.chmod(0)
    run = vecloom.run("index", tree, "--index", "index", preexec_fn=mind_modes)
    assert run.returncode == 0 and "skipped: 2 permission" in run.stderr and "0 deleted" in run.stderr
    strict = vecloom.run("index", tree, "--index", "index", "--strict", preexec_fn=mind_modes)
    assert strict.returncode == 1
    hits = vecloom.run("search", "shuttle bobbin", "--index", "index", "--using", "bm25", "--json")
    assert paths(hits) == {"closed/inner.txt", "file.txt"}


def test_records_that_may_not_be_read_stay(vecloom: Commands, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "d1", "text": "a heddle"}\n', "utf-8")
    assert vecloom.run("index", corpus, "--index", "index").returncode == 0
    corpus.chmod(0)
    one_line(vecloom.run("index", corpus, "--index", "index", preexec_fn=mind_modes), 1, str(corpus), "read")
    assert paths(vecloom.run("search", "heddle", "--index", "index", "--using", "bm25", "--json")) == {"d1"}


def test_folders_that_may_not_be_read_or_written_are_named(
    vecloom: Commands, tree: Path, tmp_path: Path
) -> None:
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    tree.chmod(0)
    one_line(vecloom.run("index", tree, "--index", "index", preexec_fn=mind_modes), 1, str(tree), "read")
    tree.chmod(0o700)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for index in (closed, closed / "index"):
        one_line(vecloom.run("index", tree, "--index", index, preexec_fn=mind_modes), 1, str(closed))
    assert list(closed.iterdir()) == []
    index = tmp_path / "index"
    index.chmod(0o500)
    one_line(
        vecloom.run("index", tree, "--index", index, preexec_fn=mind_modes),
        1,
        str(index),
        "Permission denied",
    )
    index.chmod(0)
    one_line(vecloom.run("search", "x", "--index", index, preexec_fn=mind_modes), 1, str(index), "read")


def test_files_that_change_while_they_are_read(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    names = ("b-gone.txt", "c-grown.txt", "d-link.txt", "e-folder.txt", "f-shrunk.txt", "g-more.txt")
    for name in names:
        (tree / name).write_text(f"the words of {name}\n", "utf-8")
    (tree / "a-first.txt").write_text("comes first\n", "utf-8")

    def change(event: Progress) -> None:
        """Between the listing of the folder and the reading of its files."""
        if (event.step, event.done) != ("read", 0):
            return
        for name in names[:4]:
            (tree / name).unlink()
        (tree / "c-grown.txt").write_bytes(b"grown " * (1 << 20))
        (tree / "d-link.txt").symlink_to("a-first.txt")
        (tree / "e-folder.txt").mkdir()
        (tree / "f-shrunk.txt").write_text("the\n", "utf-8")
        (tree / "g-more.txt").write_text("the words of g-more.txt\nand more\n", "utf-8")

    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tree)
        assert index.status().points == 8
        (tree / "a-first.txt").write_text("comes first, and is new\n", "utf-8")
        report = index.add(tree, listener=change)
        assert {(skip.path, skip.reason) for skip in report.skips} == {
            ("b-gone.txt", "vanished"),
            ("c-grown.txt", "too large"),
            ("d-link.txt", "vanished"),
            ("e-folder.txt", "vanished"),
        }
        assert report.problems == report.skips
        assert differences(contents(index), fresh(tmp_path / "clean", tiny_config, tree)) == []


def test_a_tree_that_never_stands_still(
    vecloom: Commands, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with vecloom.start("index", tree, "--index", "index") as child:
        number = 0
        while child.poll() is None:
            path = tree / f"file{number % 40}.txt"
            if number % 3:
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"word{number} and more\n")
            else:
                path.unlink(missing_ok=True)
            number += 1
        said = child.communicate()[1]
    assert child.returncode == 0 and "Traceback" not in said, said
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert differences(contents(index), fresh(tmp_path / "clean", tiny_config, tree)) == []


def test_an_index_of_a_newer_version_is_refused_with_the_way_out(
    vecloom: Commands, tree: Path, tmp_path: Path
) -> None:
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    manifest = tmp_path / "index" / "index.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text("utf-8")), "format": 99}), "utf-8")
    for command in (["search", "x"], ["status"], ["index", str(tree)], ["index", "--remove", "tree"]):
        one_line(vecloom.run(*command, "--index", "index"), 1, "newer vecloom", "upgrade", "--rebuild")
    one_line(vecloom.run("index", "--rebuild", "--index", "index"), 2, "name a folder or file")
    assert vecloom.run("index", tree, "--rebuild", "--index", "index").returncode == 0
    assert paths(vecloom.run("search", "weave", "--index", "index", "--json")) == {"good.py"}


def test_a_second_writer_is_told_who_the_first_is_and_a_reader_is_answered(
    vecloom: Commands, tree: Path, tmp_path: Path
) -> None:
    assert vecloom.run("index", tree, "--index", "index").returncode == 0
    with writing(tmp_path / "index", "index elsewhere") as tell:
        tell(Progress("encode", 3, 9, "chunks", "qdrant-minilm"))
        said = ("index elsewhere", f"process {os.getpid()}", "encode 3 of 9 chunks", "wait for it")
        for command in (["index", str(tree)], ["index", "--rebuild"], ["index", "--remove", "tree"]):
            one_line(vecloom.run(*command, "--index", "index"), 1, *said)
        assert paths(vecloom.run("search", "weave", "--index", "index", "--json")) == {"good.py"}
        assert "writer: vecloom index elsewhere" in vecloom.run("status", "--index", "index").stdout
    assert vecloom.run("index", tree, "--index", "index").returncode == 0


def test_two_that_make_the_same_index_at_once(
    vecloom: Commands, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    both = [vecloom.start("index", tree, "--index", "index") for _ in range(2)]
    ended = [(child.communicate(timeout=60)[1], child.returncode) for child in both]
    assert sorted(code for _, code in ended) in ([0, 0], [0, 1])
    for said, code in ended:
        assert code == 0 or "is being written to by" in said.splitlines()[-1], said
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert differences(contents(index), fresh(tmp_path / "clean", tiny_config, tree)) == []


@pytest.mark.parametrize("command", ["index", "search", "status", "chunk"])
def test_what_is_not_there_makes_nothing(command: str, vecloom: Commands, tmp_path: Path) -> None:
    arguments = {"index": ["nowhere"], "search": ["x"], "status": [], "chunk": ["nowhere", "--out", "out"]}
    run = vecloom.run(command, *arguments[command])
    one_line(run, 2, "nowhere" if arguments[command] not in (["x"], []) else "there is no index yet")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_index_is_left_alone(vecloom: Commands, tree: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "shard-1").mkdir(parents=True)
    (precious / "shard-1" / "keep.txt").write_text("keep me", "utf-8")
    one_line(vecloom.run("index", tree, "--index", precious), 2, str(precious), "not empty")
    one_line(vecloom.run("index", tree, "--index", precious, "--rebuild"), 2, str(precious), "not empty")
    one_line(vecloom.run("search", "x", "--index", precious), 1, str(precious), "holds no index")
    one_line(vecloom.run("index", tree, "--index", tree / "good.py"), 2, "good.py", "not empty")
    assert [path.name for path in precious.rglob("*")] == ["shard-1", "keep.txt"]


def test_no_weights_and_no_network_is_one_line_within_seconds(
    vecloom: Commands, tree: Path, tmp_path: Path
) -> None:
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}
    vecloom.environ.pop("VECLOOM_CONFIG")
    vecloom.environ |= {
        **closed,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "VECLOOM_CACHE_DIR": "cache",
    }
    run = vecloom.run("index", tree)
    assert run.returncode == 1 and not run.stdout and "Traceback" not in run.stderr
    *notices, error = run.stderr.splitlines()
    assert error.startswith("vecloom: no origin has the files of qdrant-minilm-onnx")
    assert "127.0.0.1:9" in error and "[weights.folders]" in error and len(notices) <= 2
    assert not (tmp_path / "data").exists()
    assert vecloom.run("index", tree, "--models", "bm25").returncode == 0
    assert paths(vecloom.run("search", "weave", "--json")) == {"good.py"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "vecloom-test", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def leave(disk: Path, size: int) -> None:
    """Fill a disk up until ``size`` bytes are left."""
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(disk).free - size)


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    small_disk: Path, vecloom: Commands, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    index = small_disk / "index"
    leave(small_disk, 4 << 20)
    one_line(vecloom.run("index", tree, "--index", index), 1, str(index), "make room and run again")
    (small_disk / "ballast").unlink()
    assert vecloom.run("index", tree, "--index", index).returncode == 0
    for number in range(40):
        lines = (f"The {number} and {line} of the loom.\n\n" * 8 for line in range(40))
        (tree / f"more{number}.txt").write_text("".join(lines), "utf-8")
    segments = index / load_manifest(index).shard / "segments"
    leave(small_disk, reserve(segments) + MARGIN + (2 << 20))
    one_line(vecloom.run("index", tree, "--index", index), 1, str(index), "make room and run again")
    assert paths(vecloom.run("search", "weave", "--index", index, "--using", "bm25", "--json")) >= {"good.py"}
    (small_disk / "ballast").unlink()
    assert vecloom.run("index", tree, "--index", index).returncode == 0
    with Index.open(index, config=tiny_config) as opened:
        assert differences(contents(opened), fresh(tmp_path / "clean", tiny_config, tree)) == []


def test_a_disk_without_any_room_breaks_nothing(
    small_disk: Path, vecloom: Commands, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    index = small_disk / "index"
    assert vecloom.run("index", tree, "--index", index).returncode == 0
    (tree / "more.txt").write_text("a shuttle\n", "utf-8")
    leave(small_disk, 0)
    for command in (["index", str(tree)], ["index", "--rebuild"], ["index", "--remove", "tree"]):
        one_line(vecloom.run(*command, "--index", index), 1, "make room")
    for command in (["search", "weave"], ["status"]):
        run = vecloom.run(*command, "--index", index)
        assert run.returncode == 0 or "make room" in run.stderr.splitlines()[-1], run
    (small_disk / "ballast").unlink()
    assert vecloom.run("index", tree, "--index", index).returncode == 0
    with Index.open(index, config=tiny_config) as opened:
        assert differences(contents(opened), fresh(tmp_path / "clean", tiny_config, tree)) == []
