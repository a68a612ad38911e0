"""Queries out of a document: what its docstrings, doc comments and headings say of what follows them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from inspect import cleandoc
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from vecloom.chunking import unpacking
from vecloom.chunking.grammars import ParseError, grammar_name, parse
from vecloom.chunking.markdown import heading_text, read_markdown
from vecloom.chunking.outline import Outline, Path, Section
from vecloom.chunking.prose import Headings
from vecloom.chunking.symbols import NodeKind, node_kind
from vecloom.evaluate.sentences import asks, first_sentence, without_comment_marks
from vecloom.types import Document

if TYPE_CHECKING:
    from tree_sitter import Node

    from vecloom.pipeline.reader_process import Work

_LINES = re.compile(rb"[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Mined:
    """A query that a document answers itself.

    ``start`` and ``end``: the lines of the answer, 1-based and inclusive. ``cut``: the bytes of the text's
    UTF-8 that the query is taken from, ``filler`` what keeps the syntax where they are taken out. ``kind``:
    docstring, comment or heading.
    """

    text: str
    kind: str
    start: int
    end: int
    cut: tuple[int, int]
    filler: bytes = b""


def without(source: bytes, mined: list[Mined]) -> bytes:
    """A text without what these queries were taken from; every line stays, so that all numbers do."""
    for one in sorted(mined, key=lambda one: one.cut, reverse=True):
        start, end = one.cut
        source = source[:start] + one.filler + _LINES.sub(b"", source[start:end]) + source[end:]
    return source


def mine_documents(settings: Mapping[str, Any]) -> Work:
    """The reader process's work that mines; a document that must be cut by lines gives no query."""
    if settings["cache_dir"]:
        unpacking.use_cache(FilePath(settings["cache_dir"]))

    def work(document: Document, by_lines: str, _native: bool) -> Mapping[str, Any]:
        found = [] if by_lines else [{**asdict(one), "filler": one.filler.decode()} for one in mine(document)]
        return {"text": document.text, "mined": found}

    return work


def mined_document(
    document: Document, _size: int, found: Mapping[str, Any]
) -> tuple[Document, tuple[Mined, ...]]:
    """A document with its text, and the queries that `mine_documents` found in it."""
    mined = (
        Mined(**{**one, "cut": tuple(one["cut"]), "filler": one["filler"].encode()}) for one in found["mined"]
    )
    return replace(document, text=found["text"]), tuple(mined)


def mine(document: Document) -> list[Mined]:
    """The queries of a document, in the order of their places; none where nothing of it can be cut out."""
    if document.parts or not document.path_in_header:  # notebooks, pages; records
        return []
    if document.kind == "prose":
        return list(_headings(document.text)) if (document.language or "") in ("markdown", "md") else []
    if document.kind != "code" or document.language is None:
        return []
    source = document.text.encode()
    grammar = grammar_name(document.language)
    try:
        root = parse(source, grammar)
    except ParseError:
        return []
    find = _docstring if grammar == "python" else _comment
    found: list[Mined] = []
    reached = 0
    for node, names in _definitions(root, source):
        one = find(node, names, source)
        if one is not None and one.cut[0] >= reached:
            found.append(one)
            reached = one.cut[1]
    return found


def _definitions(root: Node, source: bytes) -> Iterator[tuple[Node, Path]]:
    """What a text defines, in order, with its names from the outside in; what is in functions is left out."""
    pending: list[tuple[Node, Path]] = [(root, ())]
    while pending:
        node, path = pending.pop()
        kind = node_kind(node.type)
        name = _own_name(kind, node, source)
        if name:
            path = path + name
            yield node, path
            if kind.function:
                continue
        pending += [(child, path) for child in reversed(node.named_children)]


def _own_name(kind: NodeKind, node: Node, source: bytes) -> Path:
    """What a node defines itself; a wrapper's name is told again by what is in it."""
    return () if kind.name is None or kind.wraps else kind.name(node, source)


def _whole(node: Node) -> Node:
    """A definition with its decorators, its ``export`` or the like."""
    while (
        node.parent is not None
        and node_kind(node.parent.type).wraps
        and node.parent.type not in ("preproc_if", "preproc_ifdef", "linkage_specification")
        and (node.prev_named_sibling is None or node_kind(node.prev_named_sibling.type).leading)
    ):
        node = node.parent
    return node


def _docstring(node: Node, names: Path, source: bytes) -> Mined | None:
    """Python's: the string that a definition's body begins with."""
    body = node.child_by_field_name("body")
    first = body.named_child(0) if body is not None and body.named_child_count else None
    if body is None or first is None or first.type not in ("expression_statement", "string"):
        return None
    string = first if first.type == "string" else first.named_child(0)
    if string is None or string.type != "string":
        return None
    try:
        value = ast.literal_eval(source[string.start_byte : string.end_byte].decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    text = first_sentence(cleandoc(value)) if isinstance(value, str) else ""
    if not asks(text, names):
        return None
    alone = all(node_kind(child.type).leading for child in body.named_children[1:])
    whole = _whole(node)
    return Mined(
        text,
        "docstring",
        *_lines_of(whole, source),
        cut=(string.start_byte, string.end_byte),
        filler=b"..." if alone else b"",
    )


def _comment(node: Node, names: Path, source: bytes) -> Mined | None:
    """The comment that stands right before a definition, on lines of its own."""
    whole = _whole(node)
    above = whole.prev_named_sibling if _stands_alone(whole, source) else None
    row = whole.start_point[0]
    comments: list[Node] = []
    while above is not None and node_kind(above.type).leading and _last_row(above) >= row - 1:
        is_comment = "comment" in above.type or "haddock" in above.type
        if is_comment and not _stands_alone(above, source):
            break
        row = above.start_point[0]
        if is_comment:
            comments.insert(0, above)
        elif comments:
            break
        above = above.prev_named_sibling
    if not comments:
        return None
    cut = (comments[0].start_byte, comments[-1].end_byte)
    text = first_sentence(without_comment_marks(source[slice(*cut)].decode()))
    if text.split()[:1] == [names[-1]]:
        text = text[len(names[-1]) :].lstrip()  # as Go's comments begin: nobody who asks knows the name
    if not asks(text, names):
        return None
    return Mined(text, "comment", *_lines_of(whole, source), cut=cut)


def _stands_alone(node: Node, source: bytes) -> bool:
    line = source.rfind(b"\n", 0, node.start_byte) + 1
    return not source[line : node.start_byte].strip()


def _last_row(node: Node) -> int:
    row, column = node.end_point
    return row - 1 if column == 0 and row > node.start_point[0] else row


def _lines_of(node: Node, source: bytes) -> tuple[int, int]:
    return node.start_point[0] + 1, _last_row(node) + 1


class _Heard(Headings):
    """Headings that remember which one was entered last."""

    def __init__(self) -> None:
        super().__init__(())
        self.entered = False

    def enter(self, level: int, title: str) -> None:
        super().enter(level, title)
        self.entered = True


class _HeadingRows(Outline):
    """An outline that keeps the rows where headings begin: each is marked right behind its being entered."""

    def __init__(self, heard: _Heard) -> None:
        super().__init__()
        self.heard = heard
        self.headings: list[tuple[int, Path]] = []

    def mark(self, row: int, cost: int, path: Path) -> None:
        if self.heard.entered:
            self.headings.append((row, path))
            self.heard.entered = False
        super().mark(row, cost, path)


def _headings(text: str) -> Iterator[Mined]:
    """Markdown's headings; the answer is the text from there to the next one."""
    lines = [line + "\n" for line in text.split("\n")]  # as a document's lines are counted: at "\n" only
    heard = _Heard()
    rows = _HeadingRows(heard)
    read_markdown(Section(lines, 0, (), lambda _first, _last, _path: True), rows, heard)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    size = len(text.encode())
    ends = [*(row for row, _ in rows.headings), len(lines)][1:]
    for (row, path), end in zip(rows.headings, ends, strict=False):
        first = row + 1
        if first < end and re.fullmatch(r" {0,3}(?:=+|-{2,})\s*", lines[first]):
            first += 1  # the line under a heading that is underlined
        filled = [number for number in range(first, end) if not lines[number].isspace()]
        said = heading_text(lines[row].strip().strip("#"))
        if not filled or not asks(said, path[:-1]):
            continue
        yield Mined(
            said, "heading", filled[0] + 1, filled[-1] + 1, cut=(starts[row], min(starts[first], size))
        )
