"""Bytes of files to points, and what is told of the way."""

from __future__ import annotations

from dataclasses import dataclass

from vecloom.chunking import Chunker
from vecloom.pipeline.points import NewPoint, points_of
from vecloom.pipeline.report import IndexReport
from vecloom.sources import Extractor, File, Skip, decode, lost_parts


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
