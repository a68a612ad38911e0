"""Code and data by their syntax trees: a cut may be before any node, and the deeper the dearer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vecloom.chunking.grammars import parse
from vecloom.chunking.outline import CROWDED, GLUE, INSIDE, Outline, Path, Reader, Section
from vecloom.chunking.symbols import node_kind

if TYPE_CHECKING:
    from tree_sitter import Node

_PER_LEVEL = 0.1
_STATEMENT = 0.5
_DEEPEST = 0.9


@dataclass(slots=True)
class _Frame:
    """A node whose children are being read.

    ``reached`` is the last row that a child read so far covers, ``glued`` that row where that child is a
    comment or the like on rows of its own, ``name`` what that child defined.
    """

    children: Iterator[Node]
    cost: float
    path: Path
    first: int
    last: int
    reached: int
    glued: int = -2
    name: Path = ()


def syntax_reader(grammar: str) -> Reader:
    """The reader of a language that has a tree-sitter grammar; it raises ParseError, having marked nothing."""

    def read(section: Section, outline: Outline) -> None:
        root = parse("".join(section.lines).encode(), grammar)
        outline.mark(section.first, 0.0, section.path)
        _walk(root, section, outline)

    return read


def _walk(root: Node, section: Section, outline: Outline) -> None:
    """Mark the children of every node that does not fit one chunk, without recursion: trees may be deep."""
    base, fits = section.first, section.fits
    end = base + len(section.lines) - 1
    frames = [_Frame(iter(root.named_children), 0.0, section.path, base - 1, end, base - 1)]
    while frames:
        frame = frames[-1]
        child = next(frame.children, None)
        if child is None:
            frames.pop()
            closing = frame.reached + 1
            if closing <= frame.last and not section.blank(closing):
                outline.mark(closing, INSIDE, frame.path)
            continue
        first, _ = child.start_point
        last, column = child.end_point
        first, last = first + base, min(last + base - (column == 0 and last > first), end)
        kind = node_kind(child.type)
        name = kind.name(child) if kind.name is not None else ()
        path = frame.path + name
        if first > frame.first:
            outline.mark(first, _cost(frame, first, name, section), path)
        elif name:
            outline.mark(first, 0.0, path)
        frame.glued = last if kind.leading and first > frame.reached else -2
        frame.name = name
        frame.reached = max(frame.reached, last)
        if last > first and not fits(first, last, path):
            cost = max(frame.cost + _PER_LEVEL, _STATEMENT if kind.function else 0.0)
            inner = frame.path if kind.wraps else path
            frames.append(_Frame(iter(child.named_children), min(cost, _DEEPEST), inner, first, last, first))


def _cost(frame: _Frame, first: int, name: Path, section: Section) -> float:
    """What a cut before a child on row ``first`` costs, given what its parent holds before it."""
    cost = frame.cost
    if frame.reached == frame.first and frame.first >= section.first:
        cost += GLUE  # a definition's head stays with the first thing in it
    elif first <= frame.glued + 1 or (name and name == frame.name):
        cost += GLUE
    elif not section.blank(first - 1):
        cost += CROWDED
    return min(cost, INSIDE)
