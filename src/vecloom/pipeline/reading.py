"""Reads files in a process of its own, which has limits and is replaced when it dies.

Parsers of code, prose, PDF and docx, and the tokenizers that count, are native libraries. On files that are
made for it they crash, hang or take all memory. Here that costs one file its structure, and never the run.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, TypeAlias, TypeVar, cast

from vecloom.encoders.counters import CounterSettings
from vecloom.errors import VecloomError, WeightsError
from vecloom.pipeline.points import NewPoint, points_of
from vecloom.pipeline.reader_process import OUT_OF_MEMORY, is_out_of_time
from vecloom.pipeline.report import IndexReport
from vecloom.processes import child_environment, how_it_ended, python_command
from vecloom.sources import File, Limits, ScanOptions, Skip, lost_parts, read, scan
from vecloom.sources.extraction import document_suffix
from vecloom.types import Chunk, Document

T = TypeVar("T")

#: Reasons that say nothing about the content: what is stored of such a file stays.
UNREADABLE = frozenset({"missing extra", "permission", "unreadable"})

#: How often a file is tried in one way: its reader may have been killed for a reason that lies elsewhere.
_TRIES = 2

#: How often the process is started before that is given up.
_STARTS = 3

#: Files, and bytes of files, that the process is given ahead, so that it never waits while this one stores.
_AHEAD_FILES, _AHEAD_BYTES = 1024, 8 << 20

#: Seconds that a process whose answers have ended has for its own end, so that its exit code tells why.
_PATIENCE = 2.0

_LIMITS = Limits()


def is_below(path: str, kept: Sequence[str]) -> bool:
    """Whether a path is one of ``kept`` or lies in a folder of them (those end with a slash)."""
    return any(path == item or (item.endswith("/") and path.startswith(item)) for item in kept)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """How documents are cut: what counts tokens, the budget and the overlap (`vecloom.chunking.Chunker`).

    ``cache_dir``: where grammars are unpacked; "" for their own default folder.
    """

    counters: tuple[CounterSettings, ...]
    budget: int
    overlap: int = 0
    cache_dir: str = ""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read and cut. ``document`` comes without its text, which the chunks hold.

    ``size``: bytes of the file. ``fallback`` says why it was cut by lines, if it was.
    """

    document: Document
    size: int
    chunks: tuple[Chunk, ...]
    fallback: str | None


#: A source's name, a file of it, and the file's bytes.
Input: TypeAlias = "tuple[str, File, bytes]"


@dataclass(slots=True)
class _Task:
    """A file that is being read: by its own parser, by lines, or by lines and bytes. ``why`` it is so cut."""

    source: str
    file: File
    data: bytes
    by_lines: str = ""
    native: bool = True
    deaths: int = 0

    @property
    def question(self) -> bytes:
        said = {
            "source": self.source,
            "path": self.file.path,
            "name": self.file.absolute.name,
            "wanted": self.file.wanted,
            "record": self.file.offset is not None,
            "size": len(self.data),
            "by_lines": self.by_lines,
            "native": self.native,
        }
        return json.dumps(said).encode() + b"\n" + self.data


class _Process:
    """A running `vecloom.pipeline.reader_process`, with a thread that writes to it and one that listens."""

    def __init__(self, argument: str) -> None:
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        command = python_command("vecloom.pipeline.reader_process", argument)
        try:
            self.child = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=nowhere, env=child_environment()
            )
        except OSError as error:
            raise VecloomError(f"no process can be started to read files ({error}); run again") from error
        self._questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, args=(stream,), name="vecloom-reader", daemon=True)
            for target, stream in ((self._write, self.child.stdin), (self._listen, self.child.stdout))
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, question: bytes) -> None:
        self._questions.put(question)

    def answer(self) -> bytes:
        """The next line of the process; empty or cut short where it has ended."""
        return self._answers.get()

    def end(self, patience: float = 0.0) -> int:
        """Kill the process if it has not ended within ``patience`` seconds; returns its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(patience)
        self.child.kill()
        code = self.child.wait()
        self._questions.put(None)
        for thread in self._threads:
            thread.join()
        return code

    def _write(self, pipe: IO[bytes]) -> None:
        with suppress(OSError), pipe:  # nobody reads at the other end: its exit code tells why
            while (question := self._questions.get()) is not None:
                pipe.write(question)
                pipe.flush()

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._answers.put(line)
        self._answers.put(b"")


class Reader(Generic[T]):
    """Reads files, in order, by a process that starts with the first one and reads all of them.

    Close it, or use it in a ``with`` statement.
    """

    def __init__(
        self,
        work: str,
        settings: Mapping[str, Any],
        parse: Callable[[Document, int, Mapping[str, Any]], T],
        limits: Limits = _LIMITS,
    ) -> None:
        """``work``: the ``module:function`` that makes the `reader_process.Work` of ``settings``.

        ``parse`` makes the result of a file: of its document, its size in bytes, and what the work found.
        """
        self._work, self._settings, self._parse, self._limits = work, settings, parse, limits
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process that reads, while there is one."""
        return self._process.child.pid if self._process else None

    def read(self, source: str, file: File, data: bytes) -> T | Skip:
        """What a file holds, or why it is skipped.

        Raises:
            VecloomError: no process can be started.
            WeightsError: a tokenizer that counts cannot be read.
        """
        [(_, found)] = self.read_all([(source, file, data)])
        return found

    def read_all(self, files: Iterable[Input]) -> Iterator[tuple[File, T | Skip]]:
        """What files hold, in the order given; further ``files`` are taken while earlier ones are read.

        Raises:
            VecloomError, WeightsError: as `read`.
        """
        waiting: deque[_Task] = deque()
        ahead = 0
        try:
            for source, file, data in files:
                waiting.append(_Task(source, file, data))
                ahead += len(data)
                self._ask(waiting[-1], waiting)
                while len(waiting) >= _AHEAD_FILES or ahead >= _AHEAD_BYTES:
                    ahead -= len(waiting[0].data)
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        finally:
            if waiting:  # answers that nobody waits for must not become those of the next files
                self.close()

    def _ask(self, task: _Task, waiting: Iterable[_Task]) -> None:
        """Give the process a file; where none runs, start one and give it all that wait."""
        if self._process is None:
            self._process = self._start()
            for other in waiting:
                self._process.ask(other.question)
        else:
            self._process.ask(task.question)

    def _next(self, waiting: deque[_Task]) -> tuple[File, T | Skip]:
        """What the first file holds that waits; where its reader dies, it is read again in a simpler way."""
        task = waiting[0]
        while True:
            if self._process is None:
                self._ask(task, waiting)
            line = self._process.answer() if self._process else b""
            if line.endswith(b"\n"):
                waiting.popleft()
                return task.file, self._result(task, json.loads(line))
            skip = self._after_death(task, self._end(_PATIENCE))
            if skip is not None:
                waiting.popleft()
                return task.file, skip

    def _result(self, task: _Task, answer: Mapping[str, Any]) -> T | Skip:
        if "skip" in answer:
            return Skip(task.file.path, *answer["skip"])
        fields = {**answer["document"], "parts": (), "lost": tuple(answer["document"]["lost"])}
        return self._parse(Document(**fields), len(task.data), answer)

    def _after_death(self, task: _Task, code: int) -> Skip | None:
        """Decide how a file is read next whose reader died; the skip where no way is left."""
        task.deaths += 1
        seconds, memory = self._limits.seconds_for(len(task.data)), self._limits.memory >> 20
        if is_out_of_time(code):
            why = f"took longer than {seconds:.3g} s"
        elif task.deaths < _TRIES:
            return None
        elif code == OUT_OF_MEMORY:
            why = f"took more than {memory:,} MiB of memory"
        else:
            why = f"died ({how_it_ended(code)})"
        if document_suffix(task.file.absolute.name):
            reason = "too heavy" if is_out_of_time(code) or code == OUT_OF_MEMORY else "broken document"
            return Skip(task.file.path, cast("Any", reason), f"its reader {why}")
        task.deaths = 0
        if not task.by_lines:
            task.by_lines = f"its parser {why}"
        elif task.native:
            task.native = False
        else:
            return Skip(task.file.path, "too heavy", f"its reader {why}, also when it was cut by lines")
        return None

    def _start(self) -> _Process:
        said = {
            "parent": os.getpid(),
            "limits": asdict(self._limits),
            "work": self._work,
            "settings": self._settings,
        }
        how = ""
        for _ in range(_STARTS):
            process = _Process(json.dumps(said))
            ready = process.answer()
            if ready.endswith(b"\n"):
                if refusal := json.loads(ready).get("refused"):
                    process.end()
                    raise WeightsError(refusal)
                return process
            how = how_it_ended(process.end(_PATIENCE))
        raise VecloomError(
            f"the process that reads files ended {_STARTS} times at its start ({how}); what is stored stays, "
            "run again"
        )

    def _end(self, patience: float = 0.0) -> int:
        """End the process if it has not ended, and return its exit code."""
        process, self._process = self._process, None
        return process.end(patience) if process else 0

    def close(self) -> None:
        """End the process. The next file starts another one."""
        self._end()

    def __enter__(self) -> Reader[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_trees(
    sources: Mapping[str, Path], options: ScanOptions, skipped: Callable[[Skip], None]
) -> Iterator[Input]:
    """Every file of trees (name -> root) with its bytes, for `Reader.read_all`; others go to ``skipped``."""
    for source, root in sources.items():
        for item in scan(root, options):
            data = item if isinstance(item, Skip) else read(item)
            if not isinstance(item, Skip) and not isinstance(data, Skip):
                yield source, item, data
            elif isinstance(data, Skip):
                skipped(data)


def chunk_reader(settings: ChunkSettings, limits: Limits = _LIMITS) -> Reader[ReadFile]:
    """A reader that gives the chunks of files."""
    return Reader("vecloom.pipeline.reader_process:chunk_documents", asdict(settings), _read_file, limits)


def _read_file(document: Document, size: int, found: Mapping[str, Any]) -> ReadFile:
    return ReadFile(document, size, tuple(Chunk(*row) for row in found["chunks"]), found["fallback"])


def collect_points(found: ReadFile, report: IndexReport) -> list[NewPoint]:
    """Make the points of a file, and count it in ``report``."""
    document = found.document
    if document.encoding != "utf-8":
        report.notices.append(f"{document.path}: decoded as {document.encoding}")
    report.skips += lost_parts(document)
    if found.fallback:
        report.fallbacks.setdefault(found.fallback, []).append(document.path)
    report.bytes += found.size
    report.chunks += len(found.chunks)
    return points_of(document, found.chunks)
