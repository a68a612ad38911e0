"""Chunks to points: ids, payloads, and the hash that decides whether a vector can be kept."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vecloom.chunking.header import SEPARATOR, opens_with
from vecloom.types import CHUNK_NAMESPACE, Chunk, Document, Passage

#: Points in one engine operation: one record of the engine's log, which is written whole or not at all.
OPERATION_POINTS = 1000


@dataclass(frozen=True, slots=True)
class NewPoint:
    """A point as it should be stored: its id and its payload."""

    id: str
    payload: Mapping[str, Any]

    @property
    def passage(self) -> Passage:
        """What the models are given of it."""
        return passage_of(self.payload)

    @property
    def size(self) -> int:
        """Characters of the text that most models see."""
        return len(self.payload["header"]) + len(self.payload["text"])


#: Keys of the payload that `passage_of` reads.
PASSAGE_FIELDS = ("header", "text", "path", "breadcrumb", "defines")


def passage_of(payload: Mapping[str, Any]) -> Passage:
    """What the models are given of a point; one that an earlier version stored defines nothing."""
    defines = payload.get("defines", "")
    begun = {*defines.split("\n")}
    within = (name for name in payload["breadcrumb"].split(SEPARATOR) if name not in begun)
    return Passage(payload["header"], payload["text"], _path_said(payload), SEPARATOR.join(within), defines)


def _path_said(payload: Mapping[str, Any]) -> str:
    """The whole path where the header tells of it, however short it was cut, else ""."""
    header, path = payload["header"], payload["path"]
    return path if opens_with(header, path) else ""


def chunk_id(source: str, path: str, chunk_hash: str, occurrence: int) -> str:
    """UUIDv5 of the canonical JSON of (source, path, chunk text hash, n-th occurrence in the document)."""
    said = json.dumps([source, path, chunk_hash, occurrence], ensure_ascii=False, separators=(",", ":"))
    return str(uuid.uuid5(CHUNK_NAMESPACE, said))


def encoded_hash(payload: Mapping[str, Any]) -> bytes:
    """16 bytes that are equal where the encoded texts (header and text) of two payloads are."""
    said = f"{payload['header']}\0{payload['chunk_hash']}"
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


#: Keys of the payload that `passage_hash` reads.
PASSAGE_HASH_FIELDS = ("header", "chunk_hash", "path", "breadcrumb", "defines")


def passage_hash(payload: Mapping[str, Any]) -> bytes:
    """16 bytes that are equal where two payloads are one to all models, those with fields too."""
    names = payload["breadcrumb"], payload.get("defines", "")
    fields = (payload["header"], payload["chunk_hash"], _path_said(payload), *names)
    return hashlib.blake2b("\0".join(fields).encode(), digest_size=16).digest()


def points_of(document: Document, chunks: Iterable[Chunk]) -> list[NewPoint]:
    """The points of a document. Chunks of white space only give none: there is nothing to find in them."""
    points = []
    seen: dict[str, int] = {}
    for chunk in chunks:
        if not chunk.text.strip():
            continue
        chunk_hash = hashlib.sha256(chunk.text.encode()).hexdigest()
        occurrence = seen.get(chunk_hash, 0)
        seen[chunk_hash] = occurrence + 1
        payload = {
            "source": document.source,
            "path": document.path,
            "kind": document.kind,
            "language": document.language or "",
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "start_byte": chunk.start_byte,
            "end_byte": chunk.end_byte,
            "breadcrumb": chunk.breadcrumb,
            "header": chunk.header,
            "defines": chunk.defines,
            "text": chunk.text,
            "chunk_hash": chunk_hash,
            "document_hash": document.hash,
        }
        point = chunk_id(document.source, document.path, chunk_hash, occurrence)
        points.append(NewPoint(point, payload))
    return points
