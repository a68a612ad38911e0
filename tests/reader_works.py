"""Works of a reader process for tests: one gives whole documents back, one dies as the text says."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from vecloom.pipeline.reader_process import Work
from vecloom.pipeline.reading import Reader
from vecloom.sources import Limits
from vecloom.types import Document, Part


def keep_whole(_settings: Mapping[str, Any]) -> Work:
    """Made in the reader process."""

    def work(document: Document, _by_lines: str, _native: bool) -> Mapping[str, Any]:
        return {"text": document.text, "parts": [asdict(part) for part in document.parts]}

    return work


def whole_reader(limits: Limits | None = None) -> Reader[Document]:
    """A reader that gives documents with their text and parts."""
    return Reader("reader_works:keep_whole", {}, _whole, limits or Limits())


def _whole(document: Document, _size: int, found: Mapping[str, Any]) -> Document:
    return replace(document, text=found["text"], parts=tuple(Part(**part) for part in found["parts"]))


def hurt(_settings: Mapping[str, Any]) -> Work:
    """Made in the reader process: does what a text says, until it is read in the way that the text names."""

    def work(document: Document, by_lines: str, native: bool) -> Mapping[str, Any]:
        what, _, fine = document.text.strip().partition(" until ")
        way = "parsed" if not by_lines else "lines" if native else "bytes"
        if what != "fine" and fine != way:
            _harm(what)
        return {"way": way, "why": by_lines, "pid": os.getpid()}

    return work


def _harm(what: str) -> None:
    if what == "abort":
        os.abort()
    if what == "hang":
        while True:
            pass
    if what == "wait":
        time.sleep(60)
    if what == "memory":
        bytearray(1 << 32)
    if what == "exit":
        os._exit(7)
    raise ValueError(f"asked for: {what}")


def hurt_reader_of(limits: Limits) -> Reader[Mapping[str, Any]]:
    """A reader that gives what `hurt` told."""
    return Reader("reader_works:hurt", {}, lambda _document, _size, found: found, limits)
