"""Records of a BEIR corpus: a .jsonl file with ``_id``, ``title`` and ``text`` on each line.

Format: https://github.com/beir-cellar/beir/wiki/Load-your-custom-dataset
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vecloom.paths import escape_name
from vecloom.sources.entries import File, ScanOptions, Skip
from vecloom.sources.files import unreadable_root
from vecloom.sources.text import valid


class BadRecordError(ValueError):
    """A line is no record; the message says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the corpus; where it has a title but no text, the title is its text."""

    id: str
    title: str
    text: str


def parse_record(line: bytes) -> Record:
    """The record on one line. A number as ``_id`` is taken as its digits, a missing title as none.

    Raises:
        BadRecordError: not JSON, no object, no ``_id`` or no ``text``.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRecordError("no JSON object")
    name, title, text = fields.get("_id"), fields.get("title"), fields.get("text")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        raise BadRecordError("no _id")
    if not isinstance(text, str):
        raise BadRecordError("no text")
    title = valid(title).strip() if isinstance(title, str) else ""
    return Record(valid(name), title if text else "", valid(text or title))


def scan_records(corpus: Path, info: os.stat_result, options: ScanOptions) -> Iterator[File | Skip]:
    """The skips of a corpus, by line, then its records in the order of their ids.

    Blank lines are passed over. A line above ``options.max_bytes`` is never held in memory as a whole.
    """
    found: list[File] = []
    seen: dict[str, int] = {}
    try:
        for number, offset, line in _lines(corpus, options.max_bytes):
            path = f"{escape_name(corpus.name)}:{number}"
            if line is None:
                yield Skip(path, "too large", f"the line is longer than {options.max_bytes:,} bytes")
                continue
            try:
                record = parse_record(line)
            except BadRecordError as error:
                yield Skip(path, "bad record", str(error))
                continue
            first = seen.setdefault(record.id, number)
            if first != number:
                yield Skip(path, "duplicate record", f"{record.id!r} is on line {first} already")
            elif not record.text.strip():
                yield Skip(path, "empty")
            else:
                found.append(
                    File(record.id, corpus, len(line), info.st_mtime_ns, options.max_bytes, offset=offset)
                )
    except OSError as error:
        # The known paths are records: what cannot be read would look like a file without any.
        raise unreadable_root(corpus, error) from error
    yield from sorted(found, key=lambda file: file.path)


def _lines(corpus: Path, limit: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, offset and bytes of each line that is not blank; None for the bytes above ``limit``."""
    number = offset = 0
    with corpus.open("rb") as stream:
        while line := stream.readline(limit + 2):
            number += 1
            start, size = offset, len(line)
            part = line
            while size > limit + 1 and not part.endswith(b"\n") and (part := stream.readline(1 << 16)):
                size += len(part)
            offset += size
            line = line.rstrip(b"\r\n")
            if size > limit + 2 or len(line) > limit:
                yield number, start, None
            elif line.strip():
                yield number, start, line
