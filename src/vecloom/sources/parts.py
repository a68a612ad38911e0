"""Extracted texts: pieces with a blank line between them, and which stretch of the whole each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vecloom.types import Kind, Part

_BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """A notebook's cell or a page, with what its reader calls it."""

    label: str
    text: str
    kind: Kind
    language: str | None


def tile(pieces: Sequence[Piece]) -> tuple[str, tuple[Part, ...]]:
    """The text of ``pieces`` and the parts that tile it, each with the blank line that follows its piece."""
    text = _BETWEEN.join(piece.text for piece in pieces)
    parts: list[Part] = []
    start = 0
    for piece in pieces:
        end = min(start + len(piece.text) + len(_BETWEEN), len(text))
        parts.append(Part(piece.label, start, end, piece.kind, piece.language))
        start = end
    return text, tuple(parts)
