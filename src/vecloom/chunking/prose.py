"""Plain text, reStructuredText and lines of anything: blocks between blank lines, section titles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vecloom.chunking.outline import GLUE, INSIDE, MAX_DEPTH, Outline, Path, Section

_BLOCK = 0.2
_PER_INDENT = 0.1
_PER_LEVEL = 0.04
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)]|#\.|:\w[^:]*:)\s")


class Headings:
    """The headings above a place: a heading ends those of its level and of deeper ones.

    ``tail`` is what every path ends with: the label of a notebook's cell.
    """

    def __init__(self, path: Path) -> None:
        self._base = path
        self._open: list[tuple[int, str]] = []
        self.tail: Path = ()

    def enter(self, level: int, title: str) -> None:
        """A heading of ``level`` (the smaller the higher) begins."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, " ".join(title.split())))

    @property
    def path(self) -> Path:
        """What the section's own path, the open headings and the tail make."""
        titles = [title for _, title in self._open[:MAX_DEPTH] if title]
        return (*self._base, *titles, *self.tail)


def indent_of(line: str) -> int:
    """Columns of white space that a line begins with, a tab counting as eight."""
    expanded = line.expandtabs() if "\t" in line else line
    return len(expanded) - len(expanded.lstrip(" "))


def read_lines(section: Section, outline: Outline) -> None:
    """Any text: cuts at blank lines, the cheaper the less the line behind is indented."""
    previous_blank = True
    for offset, line in enumerate(section.lines):
        blank = line.isspace()
        if previous_blank and not blank:
            cost = _BLOCK + _PER_INDENT * min(indent_of(line) // 2, 6)
            outline.mark(section.first + offset, cost if offset else 0.0, section.path)
        previous_blank = blank


def read_rst(section: Section, outline: Outline) -> None:
    """reStructuredText: titles by their adornment, then blocks; a directive stays with what it indents."""
    lines = section.lines
    styles: list[str] = []
    headings = Headings(section.path)
    after_title = False
    previous_blank = True
    index = 0
    while index < len(lines):
        line = lines[index]
        row = section.first + index
        title = _title_at(lines, index) if previous_blank or after_title else None
        if title is not None:
            style, text, length = title
            if style not in styles:
                styles.append(style)
            level = styles.index(style)
            headings.enter(level, text)
            outline.mark(row, min(_PER_LEVEL * level, _BLOCK), headings.path)
            index += length
            after_title, previous_blank = True, False
            continue
        blank = line.isspace()
        if not blank and (previous_blank or after_title or _LIST_ITEM.match(line)):
            cost = _BLOCK + _PER_INDENT * min((indent_of(line) + 1) // 2, 5)
            cost += GLUE if after_title else 0.0 if previous_blank else 0.2
            outline.mark(row, min(cost, INSIDE), headings.path)
            after_title = False
        previous_blank = blank
        index += 1


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
        if under and len(lines[index + 1].strip()) >= min(len(line.strip()), 3 + len(line.strip()) // 2):
            return under[1], line.strip(), 2
    return None
