"""The work of a reader process that gives whole documents back, for tests."""

from __future__ import annotations

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
    return Reader("whole_documents:keep_whole", {}, _whole, limits or Limits())


def _whole(document: Document, _size: int, found: Mapping[str, Any]) -> Document:
    return replace(document, text=found["text"], parts=tuple(Part(**part) for part in found["parts"]))
