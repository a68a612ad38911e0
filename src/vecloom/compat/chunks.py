"""Chunks from the files of V4's chunker, or of ``vecloom chunk --out``.

A ``.json`` file holds a list of chunks, an object with such a list (``chunks``, ``data``, ``records`` or
``items``), or one chunk; a ``.jsonl`` file holds one a line. A chunk is a text, or an object with ``text``
and ``metadata``, whose other keys count as metadata.

Files that lie directly in a folder are one collection, named after it; each folder below is one, with all
that lies in it. A folder ``Chunked`` or ``chunked`` is no collection but holds some.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

#: Where an object keeps its list of chunks.
_LISTS = ("chunks", "data", "records", "items")

_SUFFIXES = (".json", ".jsonl")
_SUMMARY = "_processing_summary.json"
_CHUNKED = "chunked"

#: Names of collections, each with its files.
Collections: TypeAlias = dict[str, list[Path]]


@dataclass(frozen=True, slots=True)
class RawChunk:
    """A chunk as a file has it. ``tokens``: its own count, or that of its words where it has none."""

    text: str
    metadata: Mapping[str, Any]
    collection: str
    file: Path
    tokens: int


@dataclass(slots=True)
class Found:
    """What the files gave.

    ``skipped``: chunks without a text or a token (``file``, ``index``, ``reason``). ``errors``: what could
    not be read, one line each. ``ignored``: files beside those that are named as chunks, summaries, exports.
    """

    chunks: list[RawChunk] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read_chunks(root: Path, *, name: str | None, single: bool, prefix: str) -> Found:
    """All chunks of a folder or file.

    ``name``, ``single``: all of it is one collection, which may be named. Files whose names begin with
    ``prefix`` are an earlier export and no chunks.
    """
    found = Found()
    for collection, files in _collections(root, name, single, prefix, found).items():
        for file in files:
            for index, record in _records(file, found):
                _take(record, index, collection, file, found)
    return found


def _take(record: Any, index: int, collection: str, file: Path, found: Found) -> None:
    """One record as a chunk, or what is wrong with it."""
    if isinstance(record, str):
        record = {"text": record}
    if not isinstance(record, Mapping) or not isinstance(record.get("text"), str):
        found.errors.append(f"{file}: record {index} has no text")
        return
    text = record["text"]
    metadata = {key: value for key, value in record.items() if key not in ("text", "metadata")}
    metadata |= record["metadata"] if isinstance(record.get("metadata"), Mapping) else {}
    tokens = _count(metadata.get("token_count"), text)
    reason = "empty text" if not text.strip() else f"token_count is {tokens}" if tokens <= 0 else ""
    if reason:
        found.skipped.append({"file": str(file), "index": index, "reason": reason})
    else:
        found.chunks.append(RawChunk(text, metadata, collection, file, tokens))


def _count(said: Any, text: str) -> int:
    """The token count that is said, or the text's words where none is."""
    try:
        return int(said)
    except (TypeError, ValueError, OverflowError):
        return len(text.split())


def _records(file: Path, found: Found) -> Iterator[tuple[int, Any]]:
    """The records of a file by their number."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        found.errors.append(f"{file} cannot be read: {error}")
        return
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n")):
            if line.strip() and (read := _parse(line, f"{file}, line {number + 1}", found)):
                yield number, read[0]
    elif read := _parse(text, str(file), found):
        yield from enumerate(_listed(read[0]))


def _parse(text: str, where: str, found: Found) -> tuple[Any] | None:
    """What JSON says; NaN and infinity, which JSON does not have, as null."""
    try:
        return (json.loads(text, parse_constant=lambda _: None),)
    except (ValueError, RecursionError) as error:
        found.errors.append(f"{where} is no JSON: {error}")
        return None


def _listed(said: Any) -> Sequence[Any]:
    if isinstance(said, Mapping) and "text" not in said:
        said = next((said[key] for key in _LISTS if isinstance(said.get(key), list)), said)
    return said if isinstance(said, list) else [said]


def _collections(root: Path, name: str | None, single: bool, prefix: str, found: Found) -> Collections:
    """The files of each collection, both in the order of their names."""
    if root.is_file():
        return {name or root.stem.removesuffix("_chunks"): [root]}
    if single or name is not None:
        return {name or root.resolve().name: _data_files(root, prefix, found, below=True)}
    collections: Collections = {}
    if direct := _data_files(root, prefix, found):
        collections[root.resolve().name] = direct
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith((".", "__")):
            continue
        if folder.name.lower() == _CHUNKED:
            for inner, files in _collections(folder, None, False, prefix, found).items():
                collections.setdefault(inner, []).extend(files)
        elif files := _data_files(folder, prefix, found, below=True):
            named = [file for file in files if file.stem.endswith("_chunks")]
            found.ignored += [str(file) for file in files if named and file not in named]
            collections.setdefault(folder.name, []).extend(named or files)
    return collections


def _data_files(folder: Path, prefix: str, found: Found, *, below: bool = False) -> list[Path]:
    """The files of a folder that may hold chunks, in order; summaries and earlier exports are told apart."""
    files = []
    for path in sorted(folder.rglob("*") if below else folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.name.endswith(_SUMMARY) or path.name.startswith(f"{prefix}_"):
            found.ignored.append(str(path))
        else:
            files.append(path)
    return files
