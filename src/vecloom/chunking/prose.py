"""What prose formats share, and plain text: headings, indentation, blocks between blank lines."""

from __future__ import annotations

from vecloom.chunking.outline import MAX_DEPTH, Outline, Path, Section

_BLOCK = 20
_PER_INDENT = 10


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
            outline.mark(section.first + offset, cost if offset else 0, section.path)
        previous_blank = blank
