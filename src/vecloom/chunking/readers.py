"""Which reader outlines which document, and what happens where none can."""

from __future__ import annotations

import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from vecloom.chunking.grammars import ParseError, grammar_name
from vecloom.chunking.header import clean_line
from vecloom.chunking.keys import read_yaml
from vecloom.chunking.markdown import read_markdown
from vecloom.chunking.outline import Fits, Outline, Path, Reader, Section
from vecloom.chunking.prose import Headings, read_lines
from vecloom.chunking.rows import Rows
from vecloom.chunking.rst import read_rst
from vecloom.chunking.syntax import syntax_reader
from vecloom.types import Document, Kind

_HTML_HEADING = re.compile(r"<h([1-6])\b[^>]{0,500}>(.{0,500}?)</h\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_HEADING_COST = 5
_AFTER_PROSE_CELL = 30


def read_html(section: Section, outline: Outline) -> None:
    """HTML by its elements; the paths are those of the headings h1 to h6, wherever they stand."""
    elements = Outline()
    syntax_reader("html")(section, elements)
    costs = dict(zip(elements.rows, elements.costs, strict=True))
    paths: dict[int, Path] = {}
    text = "".join(section.lines)
    headings = Headings(section.path)
    row, position = section.first, 0
    for match in _HTML_HEADING.finditer(text):
        row += text.count("\n", position, match.start())
        position = match.start()
        title = clean_line(html.unescape(_TAG.sub(" ", match[2])))
        headings.enter(int(match[1]), title)
        outline.define(row, title)
        paths[row] = headings.path
        costs[row] = min(costs.get(row, _HEADING_COST), _HEADING_COST)
    path = section.path
    for row in sorted(costs):
        path = paths.get(row, path)
        outline.mark(row, costs[row], path)


#: Formats read in another way than by a tree-sitter grammar of their name.
_READERS: Mapping[str, Reader] = {
    "html": read_html,
    "markdown": read_markdown,
    "md": read_markdown,
    "restructuredtext": read_rst,
    "rst": read_rst,
    "yaml": read_yaml,
    "yml": read_yaml,
} | dict.fromkeys(
    # Blocks between blank lines, or single lines, are all the structure that these have or that is read.
    [
        "asciidoc",
        "capnp",
        "csv",
        "diff",
        "gettext",
        "gitignore",
        "jsonl",
        "latex",
        "log",
        "org",
        "plain",
        "plaintext",
        "roff",
        "tabular",
        "texinfo",
        "text",
        "txt",
        "typst",
    ],
    read_lines,
)


def _reader_for(kind: Kind, language: str | None) -> Reader:
    if language is None:
        if kind == "code":
            raise ParseError("the language is not known")
        return read_lines
    name = language.lower()
    return _READERS.get(name) or syntax_reader(grammar_name(name))


def _read(section: Section, outline: Outline, kind: Kind, language: str | None) -> str | None:
    """Outline a section by its own reader, else by lines; says why it was lines."""
    try:
        _reader_for(kind, language)(section, outline)
    except ParseError as error:
        read_lines(section, outline)
        return str(error)
    return None


def _read_parts(document: Document, rows: Rows, fits: Fits, outline: Outline) -> str | None:
    """Cells or pages, each by its own kind; the headings of Markdown cells hold for the cells behind them."""
    headings = Headings(())
    fallback: str | None = None
    previous: Kind | None = None
    for part in document.parts:
        first = bisect_right(rows.starts, part.start, hi=len(rows.lines)) - 1
        end = bisect_left(rows.starts, part.end)
        headings.tail = (clean_line(part.label),)
        glued = previous == "prose" and part.kind == "code"
        outline.mark(first, _AFTER_PROSE_CELL if glued else 0, headings.path)
        section = Section(rows.lines[first:end], first, headings.path, fits)
        if part.kind == "prose" and _READERS.get(part.language or "") is read_markdown:
            read_markdown(section, outline, headings)
        else:
            fallback = _read(section, outline, part.kind, part.language) or fallback
        previous = part.kind
    return fallback


def outline_lines(rows: Rows, fits: Fits) -> Outline:
    """The outline of any document by its blank lines and indentation alone; the first row is marked."""
    outline = Outline()
    outline.mark(0, 0, ())
    read_lines(Section(rows.lines, 0, (), fits), outline)
    return outline


def outline_document(document: Document, rows: Rows, fits: Fits) -> tuple[Outline, str | None]:
    """The outline of a document, and why lines were used in place of a parser, if they were.

    The first row is always marked.
    """
    outline = Outline()
    outline.mark(0, 0, ())
    if document.parts:
        return outline, _read_parts(document, rows, fits, outline)
    section = Section(rows.lines, 0, (), fits)
    return outline, _read(section, outline, document.kind, document.language)
