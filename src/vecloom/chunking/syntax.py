"""Code and data by their syntax trees: a cut may be before any node, and the deeper the dearer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from vecloom.chunking.grammars import parse
from vecloom.chunking.outline import CROWDED, GLUE, INSIDE, MAX_DEPTH, Outline, Path, Reader, Section
from vecloom.chunking.symbols import node_kind

if TYPE_CHECKING:
    from tree_sitter import Node

_PER_LEVEL = 10
_STATEMENT = 50
_DEEPEST = 90
_NO_ROW = -2

#: A node whose children are being read: the children left, what a cut before them costs, their path, the
#: node's first and last row, the last row of the children read so far, that row where the last child is a
#: comment or the like on rows of its own, and what that child defined.
_Frame: TypeAlias = "tuple[Iterator[Node], int, Path, int, int, int, int, Path]"


def syntax_reader(grammar: str) -> Reader:
    """The reader of a language with a tree-sitter grammar; where it raises ParseError it marked nothing."""

    def read(section: Section, outline: Outline) -> None:
        source = "".join(section.lines).encode()
        root = parse(source, grammar)
        outline.mark(section.first, 0, section.path)
        _walk(root, source, section, outline)

    return read


def _walk(root: Node, source: bytes, section: Section, outline: Outline) -> None:
    """Mark the children of every node that does not fit one chunk.

    Without recursion, because trees may be deep; frames are unpacked and not objects, because this loop runs
    for every node.
    """
    base, lines, fits, mark = section.first, section.lines, section.fits, outline.mark
    end = base + len(lines) - 1
    before = base - 1
    frames: list[_Frame] = [(iter(root.named_children), 0, section.path, before, end, before, _NO_ROW, ())]
    while frames:
        children, level, path, top, bottom, reached, glued, defined = frames.pop()
        for child in children:
            last, column = child.end_point
            last += base
            if last <= top:
                continue  # on the row that the node itself begins on: nothing to cut before
            first = child.start_point[0] + base
            if last > first and (column == 0 or last > end):
                last -= 1
            kind = node_kind(child.type)
            name = kind.name(child, source) if kind.name is not None else ()
            child_path = path + name if name and len(path) < MAX_DEPTH else path
            if first > top:
                cost = level
                if reached == top >= base or first <= glued + 1 or (name and name == defined):
                    cost += GLUE  # a definition's head with what is first in it, a comment with its subject
                elif first > base and not lines[first - base - 1].isspace():
                    cost += CROWDED
                mark(first, min(cost, INSIDE), child_path)
            elif name:
                mark(first, 0, child_path)
            if name and not kind.wraps:
                outline.define(first, name[-1])
            glued = last if kind.leading and first > reached else _NO_ROW
            defined = name
            reached = max(reached, last)
            if last > first and not fits(first, last, child_path):
                frames.append((children, level, path, top, bottom, reached, glued, defined))
                deeper = max(level + _PER_LEVEL, _STATEMENT if kind.function else 0)
                inner = path if kind.wraps else child_path
                deeper = min(deeper, _DEEPEST)
                frames.append((iter(child.named_children), deeper, inner, first, last, first, _NO_ROW, ()))
                break
            if last > first and (name or kind.wraps) and not kind.function:
                _define_members(child, source, base, outline)
        else:
            closing = reached + 1
            if closing <= bottom and not section.blank(closing):
                mark(closing, INSIDE, path)


def _define_members(node: Node, source: bytes, base: int, outline: Outline) -> None:
    """Note what is defined inside a node that is not cut; what functions define is their own affair."""
    waiting = [iter(node.named_children)]
    while waiting:
        for child in waiting[-1]:
            kind = node_kind(child.type)
            name = kind.name(child, source) if kind.name is not None else ()
            if name and not kind.wraps:
                outline.define(child.start_point[0] + base, name[-1])
            if not kind.function and child.named_child_count:
                waiting.append(iter(child.named_children))
                break
        else:
            waiting.pop()
