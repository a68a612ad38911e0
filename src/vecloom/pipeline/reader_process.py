"""The process that reads files for `vecloom.pipeline.reading`: all that parses a user's bytes runs in it.

Each question on stdin is a line of JSON and the file's bytes, each answer on stdout a line of JSON. What a
parser prints, warns or logs is discarded.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from vecloom.chunking import Chunked, Chunker, unpacking
from vecloom.encoders.counters import ByteCounter, CounterSettings, make_counter
from vecloom.errors import VecloomError, is_panic
from vecloom.processes import die_with, limit_memory
from vecloom.sources import File, Limits, Skip, decode
from vecloom.sources.extraction import one_line
from vecloom.types import Document

#: The exit code of a reader that ran out of memory.
OUT_OF_MEMORY = 12

#: Seconds of the clock for each second of the processor that a file may take: one that waits is ended too.
_WAITING = 10

#: (document, why its own parser must not be used or "", whether native code may count) -> JSON's values.
Work: TypeAlias = Callable[[Document, str, bool], Mapping[str, Any]]


def chunk_documents(settings: Mapping[str, Any]) -> Work:
    """The work of an index run: the chunks of a document."""
    if settings["cache_dir"]:
        unpacking.use_cache(Path(settings["cache_dir"]))
    chunking = settings["budget"], settings["overlap"]
    chunker = Chunker(make_counter([CounterSettings(**one) for one in settings["counters"]]), *chunking)
    careful = Chunker(ByteCounter(chunker.counter.specials), *chunking)

    def chunk(document: Document, by_lines: str, native: bool) -> Mapping[str, Any]:
        if not native:
            chunked = careful.chunk(document, by_lines)
        elif by_lines:
            chunked = chunker.chunk(document, by_lines)
        else:
            chunked = _chunk(chunker, document)
        rows = [
            (c.text, c.start_line, c.end_line, c.start_byte, c.end_byte, c.breadcrumb, c.header, c.defines)
            for c in chunked.chunks
        ]
        return {"chunks": rows, "fallback": chunked.fallback}

    return chunk


def _chunk(chunker: Chunker, document: Document) -> Chunked:
    """Cut by the document's own parser; where that fails, by lines, and say why."""
    try:
        return chunker.chunk(document)
    except MemoryError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return chunker.chunk(document, f"its parser failed ({one_line(error)})")


def main(arguments: Sequence[str]) -> int:
    """Answer until stdin is closed. The only argument is JSON; see `vecloom.pipeline.reading`."""
    said = json.loads(arguments[0])
    limits = Limits(**said["limits"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends this process
    die_with(said["parent"])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent discards stderr

    def answer(found: Mapping[str, Any]) -> None:
        answers.write(json.dumps(found).encode() + b"\n")
        answers.flush()

    module, _, function = said["work"].partition(":")
    try:
        work: Work = getattr(import_module(module), function)(said["settings"])
    except VecloomError as error:
        answer({"refused": str(error)})
        return 0
    answer({})
    limit_memory(limits.memory)
    while line := sys.stdin.buffer.readline():
        question = json.loads(line)
        try:
            answer(_read(question, sys.stdin.buffer.read(question["size"]), work, limits))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # at once: nothing else is sure to work now
    return 0


def is_out_of_time(code: int) -> bool:
    """True if the exit code of a reader says that its time was up, by the processor or by the clock."""
    return code == 1 or (hasattr(signal, "SIGPROF") and code == -signal.SIGPROF)


def _read(question: Mapping[str, Any], data: bytes, work: Work, limits: Limits) -> Mapping[str, Any]:
    """Read one file within its limit of time."""
    # The process ends itself: no parent has to live for it, and no lock of the interpreter delays it. Time of
    # the processor counts, so that neither a stopped process nor a busy machine costs a file its structure.
    seconds = limits.seconds_for(len(data))
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        faulthandler.dump_traceback_later(_WAITING * seconds, exit=True)
    else:
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        return read_file(question, data, work, limits)
    finally:
        faulthandler.cancel_dump_traceback_later()
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)


def read_file(question: Mapping[str, Any], data: bytes, work: Work, limits: Limits) -> Mapping[str, Any]:
    """The answer for one file: its document, without the text, and what the work found; or its skip."""
    path = question["path"]
    file = File(
        path,
        Path(question["name"]),
        len(data),
        0,
        len(data),
        wanted=question["wanted"],
        offset=0 if question["record"] else None,
    )
    try:
        document = decode(question["source"], file, data, limits=limits)
        if isinstance(document, Skip):
            return {"skip": [document.reason, document.detail]}
        found = work(document, question["by_lines"], question["native"])
        fields = {**asdict(document), "text": "", "parts": ()}
        return {"document": fields, **found}
    except MemoryError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        return {"skip": ["unreadable", one_line(error)]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
