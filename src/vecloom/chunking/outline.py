"""Outlines: the rows where a document may be cut, what a cut there costs, and the path from there on.

A row is a line counted from 0. Costs are in hundredths of a chunk: two cuts of cost 50 are avoided as gladly
as one chunk more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]
#: (first row, last row inclusive, path) -> whether they fit one chunk of that path.
Fits: TypeAlias = Callable[[int, int, Path], bool]

#: Names of a path beyond this depth are left out: nobody reads them, and each costs its whole path.
MAX_DEPTH = 16
#: Cuts between blocks that follow each other without a blank line hurt a little more.
CROWDED = 6
#: Cuts between what belongs together: a comment and its function, a heading and its text.
GLUE = 60
#: Cuts at a place that nothing recommends: the middle of a paragraph or statement.
INSIDE = 95


class Outline:
    """Rows where a document may be cut, in ascending order, each with its cost and path.

    ``defined``: rows in which a definition or a section begins, in ascending order, each with its name.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.costs: list[int] = []
        self.paths: list[Path] = []
        self.defined: list[tuple[int, str]] = []

    def define(self, row: int, name: str) -> None:
        """Note that what is called ``name`` begins in ``row``."""
        if name:
            self.defined.append((row, name))

    def mark(self, row: int, cost: int, path: Path) -> None:
        """Allow a cut before ``row``. A second mark of one row keeps the first cost and the longer path.

        Rows that lie before the last mark are ignored: the readers work in document order.
        """
        if self.rows and row <= self.rows[-1]:
            if row == self.rows[-1] and len(path) > len(self.paths[-1]):
                self.paths[-1] = path
            return
        self.rows.append(row)
        self.costs.append(cost)
        self.paths.append(path)


@dataclass(frozen=True, slots=True)
class Section:
    """The stretch of a document that one reader outlines.

    ``lines`` are the stretch's own, with their ends; ``first`` is the row of the first of them, ``path`` what
    every path starts with. ``fits`` takes rows of the document.
    """

    lines: Sequence[str]
    first: int
    path: Path
    fits: Fits

    def blank(self, row: int) -> bool:
        """True where ``row`` (of the document) lies in the section and holds only white space."""
        index = row - self.first
        return 0 <= index < len(self.lines) and self.lines[index].isspace()


#: A reader of one format: marks the rows of a section in ascending order.
Reader: TypeAlias = Callable[[Section, Outline], None]
