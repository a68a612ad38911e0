"""The reader process: what dies, hangs or panics in it costs one file its structure, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from commands import Vecloom
from hostile_files import write_hostile_files
from reader_works import hurt_reader_of
from tiny_bert import make_tiny_bert
from vecloom.chunking import Chunker, markdown
from vecloom.encoders.counters import (
    CounterSettings,
    HFCounter,
    WordCounter,
    WordPieceCounter,
    make_counter,
)
from vecloom.errors import VecloomError, WeightsError
from vecloom.pipeline import reader_process, reading
from vecloom.pipeline.reading import ChunkSettings, Reader, ReadFile, chunk_reader
from vecloom.sources import File, Limits, Skip
from vecloom.types import Document

pytestmark = pytest.mark.usefixtures("reader_process")

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

WORDS = ChunkSettings((), 64)
QUICK = Limits(seconds=1.0, seconds_per_mib=0, memory=300 << 20)


@pytest.fixture
def hurt_reader() -> Iterator[Reader[Mapping[str, Any]]]:
    with hurt_reader_of(QUICK) as reader:
        yield reader


def file(name: str, data: bytes) -> tuple[str, File, bytes]:
    return "s", File(name, Path(name), len(data), 0, 1 << 26), data


@pytest.mark.parametrize(
    ("text", "way", "why"),
    [
        ("fine", "parsed", ""),
        ("abort until lines", "lines", "its parser died (signal SIGABRT)"),
        ("exit until lines", "lines", "its parser died (exit code 7)"),
        ("hang until lines", "lines", "its parser took longer than 1 s"),
        ("wait until lines", "lines", "its parser took longer than 1 s"),
        ("abort until bytes", "bytes", "its parser died (signal SIGABRT)"),
        pytest.param(
            "memory until lines",
            "lines",
            "its parser took more than 300 MiB of memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="limits of memory work on Linux"),
        ),
    ],
)
def test_a_file_that_kills_its_reader_is_read_in_a_simpler_way(
    hurt_reader: Reader[Mapping[str, Any]], text: str, way: str, why: str
) -> None:
    found = hurt_reader.read(*file("a.txt", text.encode()))
    assert not isinstance(found, Skip)
    assert (found["way"], found["why"]) == (way, why)


def test_a_file_that_kills_in_every_way_is_skipped_and_the_others_are_read_in_order(
    hurt_reader: Reader[Mapping[str, Any]],
) -> None:
    texts = ["fine", "fine", "abort", "fine", "abort until lines", "error", "fine"]
    files = [file(f"{number}.txt", text.encode()) for number, text in enumerate(texts)]
    found = [(one.path, found) for one, found in hurt_reader.read_all(files)]
    assert [path for path, _ in found] == [f"{number}.txt" for number in range(len(texts))]
    said = [(item.reason, item.detail) if isinstance(item, Skip) else item["way"] for _, item in found]
    assert said == [
        "parsed",
        "parsed",
        ("too heavy", "its reader died (signal SIGABRT), also when it was cut by lines"),
        "parsed",
        "lines",
        ("unreadable", "asked for: error"),
        "parsed",
    ]


def test_a_reader_that_somebody_kills_does_not_cost_a_file_its_parser() -> None:
    with chunk_reader(WORDS) as reader:
        first = reader.read(*file("a.py", b"def f():\n    return 1\n"))
        pid = reader.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        second = reader.read(*file("a.py", b"def f():\n    return 1\n"))
        assert first == second and reader.pid != pid
        assert isinstance(second, ReadFile) and second.fallback is None


def test_many_files_are_read_ahead_and_a_consumer_may_stop_early() -> None:
    files = [file(f"{number}.md", f"# Title {number}\n".encode()) for number in range(3000)]
    with chunk_reader(WORDS) as reader:
        for one, _ in reader.read_all(files):
            if one.path == "10.md":
                break
        found = [item for _, item in reader.read_all(files)]
    assert [item.chunks[0].breadcrumb for item in found if isinstance(item, ReadFile)] == [
        f"Title {number}" for number in range(3000)
    ]


def test_a_reader_that_is_stopped_for_long_goes_on_where_it_was() -> None:
    limits = Limits(seconds=0.3, seconds_per_mib=0)
    with Reader("reader_works:hurt", {}, lambda _document, _size, found: found, limits) as reader:
        reader.read(*file("a.txt", b"fine"))
        pid = reader.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, (pid, signal.SIGCONT)).start()
        found = reader.read(*file("a.txt", b"fine"))
    assert not isinstance(found, Skip) and found["way"] == "parsed" and found["pid"] == pid


def test_a_reader_that_is_killed_while_it_starts_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = reading._Process.__init__

    def start_and_kill(self: reading._Process, argument: str) -> None:
        start(self, argument)
        started.append(self.child.pid)
        if len(started) == 1:
            self.child.kill()

    monkeypatch.setattr(reading._Process, "__init__", start_and_kill)
    with chunk_reader(WORDS) as reader:
        found = reader.read(*file("a.md", b"text"))
    assert isinstance(found, ReadFile) and len(started) == 2


def test_a_records_long_title_is_not_repeated_by_every_chunk() -> None:
    document = Document(
        "s", "a", "words of it\n" * 2000, "prose", "text", "", title="title " * 50_000, path_in_header=False
    )
    chunks = Chunker(WordCounter(), 64).chunk(document).chunks
    assert len(chunks) > 50 and max(len(chunk.breadcrumb) for chunk in chunks) <= 500


def test_a_tokenizer_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    settings = ChunkSettings((CounterSettings(str(tmp_path / "tokenizer.json")),), 64)
    with chunk_reader(settings) as reader, pytest.raises(WeightsError, match="describes no tokenizer"):
        reader.read(*file("a.md", b"text"))


def test_a_reader_that_cannot_start_is_told_in_a_line() -> None:
    with (
        Reader("no_such_module:work", {}, lambda *_: None) as reader,
        pytest.raises(VecloomError, match="at its start"),
    ):
        reader.read(*file("a.md", b"text"))


class PanicException(BaseException):
    """What a panic of a Rust library looks like."""


def test_a_panic_of_the_fast_counter_costs_those_texts_their_fast_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_bert(tmp_path)
    counter = WordPieceCounter(tmp_path / "tokenizer.json")
    texts = ["open the file", "retry é", "☃ run", "\u0600 outside"]
    wanted = HFCounter(tmp_path / "tokenizer.json").counts(texts)
    assert counter.counts(texts) == wanted

    def panic(_text: str) -> int:
        raise PanicException("byte index 65536 is not a char boundary")

    monkeypatch.setattr(counter, "_count", panic)
    assert counter.counts(texts) == wanted and counter.counts(texts[:1]) == wanted[:1]
    monkeypatch.setattr(counter, "_count", interrupt)
    with pytest.raises(KeyboardInterrupt):
        counter.counts(texts)


def interrupt(_text: str) -> int:
    raise KeyboardInterrupt


def test_the_fast_counter_takes_long_lines_of_any_script(minilm_folder: Path) -> None:
    lines = ["的" * 30_000, "é字" * 40_000, "字 " * 40_000 + "\n"]
    path = minilm_folder / "tokenizer.json"
    assert WordPieceCounter(path).counts(lines) == HFCounter(path).counts(lines)


@pytest.mark.parametrize("error", [ValueError("what a parser says"), PanicException("what a parser says")])
def test_what_a_parser_raises_costs_a_file_its_structure(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vecloom.chunking.chunker.outline_document", fail)
    work = reader_process.chunk_documents({"counters": [], "budget": 64, "overlap": 0, "cache_dir": ""})
    found = work(Document("s", "a.py", "x = 1\n", "code", "python", ""), "", True)
    assert found["fallback"] == "its parser failed (what a parser says)" and len(found["chunks"]) == 1


def test_without_native_code_no_chunk_has_more_bytes_than_tokens_fit(tmp_path: Path) -> None:
    make_tiny_bert(tmp_path)
    counting = CounterSettings(str(tmp_path / "tokenizer.json"), prompt="open the file " * 8)
    specials = make_counter([counting]).specials
    assert specials > 16
    text = "wörter und mehr\n" * 200 + "é" * 5000 + "\n"
    settings = ChunkSettings((counting,), 128)
    work = reader_process.chunk_documents(asdict(settings))
    found = work(Document("s", "a.py", text, "code", "python", ""), "it died", False)
    texts = [row[0] for row in found["chunks"]]
    assert "".join(texts) == text and found["fallback"] == "it died"
    assert max(len(part.encode()) for part in texts) <= 128 - specials


def count_calls(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[int]:
    calls = [0]
    original: Callable[..., Any] = getattr(module, name)

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        return original(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_a_list_with_indented_headings_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch, markdown, "_list_end")
    text = "".join(f"- item {number}\n  # heading\n  text\n" for number in range(500))
    document = Document("s", "a.md", text, "prose", "markdown", "")
    chunks = Chunker(WordCounter(), 64).chunk(document).chunks
    assert "".join(chunk.text for chunk in chunks) == text and calls[0] == 1


def test_lines_without_words_cost_no_more_than_others() -> None:
    text = "{\n\n}\n;\n" * 60_000  # where every unit has no token, all of them fit one chunk
    document = Document("s", "a.c", text, "code", "c", "")
    chunked = Chunker(WordCounter(), 64).chunk(document)
    assert "".join(chunk.text for chunk in chunked.chunks) == text


def test_a_long_title_is_not_repeated_by_every_chunk_below_it() -> None:
    title = "long " * 10_000
    text = f"{title}\n{'=' * len(title)}\n\n" + "".join(f"Part {n}\n------\n\nwords\n\n" for n in range(300))
    document = Document("s", "a.rst", text, "prose", "rst", "")
    chunks = Chunker(WordCounter(), 64).chunk(document).chunks
    assert "".join(chunk.text for chunk in chunks) == text
    assert max(len(chunk.breadcrumb) for chunk in chunks) < 600


@contextmanager
def memory_of_children() -> Iterator[list[int]]:
    """The address space in bytes that children of this process had, looked at all the time."""
    sizes: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for task in Path("/proc/self/task").iterdir():
                try:
                    for pid in (task / "children").read_text().split():
                        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
                        sizes.append(pages * 4096)
                except (OSError, IndexError):  # it has ended
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(3600)
def test_hostile_files_of_every_language_are_indexed_or_named(vecloom: Vecloom, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    count = write_hostile_files(tree, share=float(os.environ.get("HOSTILE_SHARE", "0.04")))
    assert count > 200
    with memory_of_children() as sizes:
        done = vecloom("index", tree, "--index", tmp_path / "index", "--models", "bm25-code", "--verbose")
    assert done.code == 0, done.err
    exported = tmp_path / "points.jsonl"
    assert vecloom("export", tmp_path / "index", "--format", "jsonl", "--out", exported).code == 0
    with exported.open("rb") as lines:
        indexed = {json.loads(line)["payload"]["path"] for line in lines}
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    named = {line.strip().partition(": ")[0] for line in done.err.splitlines() if line.startswith("    ")}
    blank = {path for path in files if not (tree / path).read_bytes().strip()}
    assert files - indexed - named - blank == set()
    assert sizes and max(sizes) < 3 << 30
    assert vecloom("search", "foo bar", "--index", tmp_path / "index").code == 0
