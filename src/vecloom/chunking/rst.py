"""reStructuredText: section titles, directives with what they indent, lists and paragraphs, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vecloom.chunking.outline import GLUE, INSIDE, Outline, Section
from vecloom.chunking.prose import Headings, indent_of

_BLOCK = 20
_PER_INDENT = 10
_PER_LEVEL = 4
_CROWDED_ITEM = 20
# More of a title than this says nothing, and every path below it would repeat it.
_MAX_TITLE = 500
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)]|#\.|:\w[^:]*:)\s")


def read_rst(section: Section, outline: Outline) -> None:
    """Titles take their level from the order in which their adornment first occurs.

    A paragraph or directive stays with the blocks that are indented under it, where they fit together.
    """
    lines = section.lines
    styles: list[str] = []
    headings = Headings(section.path)
    after_title, begins = False, True
    index = 0
    while index < len(lines):
        row, line = section.first + index, lines[index]
        title = _title_at(lines, index) if begins else None
        if title is not None:
            style, text, length = title
            if style not in styles:
                styles.append(style)
            headings.enter(styles.index(style), text[:_MAX_TITLE])
            outline.define(row, text[:_MAX_TITLE])
            outline.mark(row, min(_PER_LEVEL * styles.index(style), _BLOCK), headings.path)
            index += length
            after_title = begins = True
            continue
        index += 1
        if line.isspace():
            begins = True
        elif begins or _ITEM.match(line):
            cost = _BLOCK + _PER_INDENT * min((indent_of(line) + 1) // 2, 5)
            cost += GLUE if after_title else 0 if begins else _CROWDED_ITEM
            outline.mark(row, min(cost, INSIDE), headings.path)
            if begins and not line[0].isspace():
                end = _block_end(lines, index)
                if section.fits(row, section.first + end - 1, headings.path):
                    index = end
            after_title = begins = False
            begins = lines[index - 1].isspace()


def _block_end(lines: Sequence[str], index: int) -> int:
    """The line behind a block that began before ``index``: what follows a blank line without indentation."""
    after_blank = False
    for end in range(index, len(lines)):
        blank = lines[end].isspace()
        if after_blank and not blank and not lines[end][0].isspace():
            return end
        after_blank = blank
    return len(lines)


def _title_at(lines: Sequence[str], index: int) -> tuple[str, str, int] | None:
    """The style, text and number of lines of a section title that begins at ``index``."""
    line = lines[index]
    if line.isspace():
        return None
    over = _ADORNMENT.match(line)
    if over and index + 2 < len(lines):
        under = _ADORNMENT.match(lines[index + 2])
        text = lines[index + 1].strip()
        if under and under[1] == over[1] and text and not _ADORNMENT.match(lines[index + 1]):
            return over[1] * 2, text, 3
    if not over and index + 1 < len(lines) and not line[0].isspace():
        under = _ADORNMENT.match(lines[index + 1])
        # Half a title's length and more is taken for its adornment: many are a few characters short.
        if under and 2 * len(lines[index + 1].strip()) >= len(line.strip()):
            return under[1], line.strip(), 2
    return None
