"""Bytes of files to points, and what is told of the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vecloom.chunking import Chunker
from vecloom.pipeline.points import NewPoint, points_of
from vecloom.pipeline.report import IndexReport
from vecloom.sources import Extractor, File, Skip, decode, lost_parts

#: Reasons that say nothing about the content: what is stored of such a file stays.
UNREADABLE = frozenset({"missing extra", "permission", "unreadable"})


def is_below(path: str, kept: Sequence[str]) -> bool:
    """Whether a path is one of ``kept`` or lies in a folder of them (those end with a slash)."""
    return any(path == item or (item.endswith("/") and path.startswith(item)) for item in kept)


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads files: how they are cut, who extracts the text of documents, where it is counted."""

    chunker: Chunker
    extractor: Extractor
    report: IndexReport

    def points(self, source: str, file: File, data: bytes) -> list[NewPoint] | Skip:
        """The points of a file whose bytes are ``data``, or why it has none."""
        document = decode(source, file, data, extractor=self.extractor)
        if isinstance(document, Skip):
            return document
        report = self.report
        if document.encoding != "utf-8":
            report.notices.append(f"{document.path}: decoded as {document.encoding}")
        report.skips += lost_parts(document)
        chunked = self.chunker.chunk(document)
        if chunked.fallback:
            report.fallbacks[chunked.fallback] += 1
        report.bytes += len(data)
        report.chunks += len(chunked.chunks)
        return points_of(document, chunked.chunks)
