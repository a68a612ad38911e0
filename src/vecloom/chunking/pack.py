"""From an outline to chunks: whole units where they fit, packed so that few and cheap cuts remain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from vecloom.chunking.outline import INSIDE, Outline, Path
from vecloom.chunking.rows import Rows, split_line
from vecloom.types import TokenCounter

#: A chunk of fewer tokens says too little to be found: one costs as much as this many chunks.
TINY_TOKENS = 32
_TINY_COST = 1.2
# Neighbours that one path and one cost join are one unit up to this share of a chunk: fewer units to weigh.
_MERGED_SHARE = 12
_BLANK_INSIDE = 0.85


@dataclass(frozen=True, slots=True)
class Unit:
    """What is not cut any further: ``start`` is a character offset, ``cost`` that of a cut before it.

    ``broken`` marks a piece of a line, whose count need not add up with its neighbours'.
    """

    start: int
    tokens: int
    cost: float
    path: Path
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many tokens of text a chunk may have: ``most`` less what its header takes (``reserve(path)``).

    ``least`` is what is left beside the longest header there can be.
    """

    most: int
    least: int
    reserve: Callable[[Path], int]

    def holds(self, tokens: int, path: Path) -> bool:
        """True where a text of so many tokens fits a chunk of that path."""
        return tokens <= self.least or (tokens <= self.most and tokens + self.reserve(path) <= self.most)


def units_of(rows: Rows, outline: Outline, capacity: Capacity, counter: TokenCounter) -> list[Unit]:
    """The outline's stretches as units that each fit a chunk; what does not fit is cut by lines, then within."""
    units: list[Unit] = []
    ends = [*outline.rows[1:], len(rows.lines)]
    small = capacity.least // _MERGED_SHARE
    starts, sums = rows.starts, rows.sums
    for first, end, cost, path in zip(outline.rows, ends, outline.costs, outline.paths, strict=True):
        tokens = sums[end] - sums[first]
        if not capacity.holds(tokens, path):
            units += _by_lines(rows, first, end, cost, path, capacity.least, counter)
            continue
        if units:
            last = units[-1]
            if last.path == path and tokens + last.tokens <= small and (last.cost == cost or not tokens):
                units[-1] = Unit(last.start, last.tokens + tokens, last.cost, path)
                continue
        units.append(Unit(starts[first], tokens, cost, path))
    return units


def _by_lines(
    rows: Rows, first: int, end: int, cost: float, path: Path, limit: int, counter: TokenCounter
) -> list[Unit]:
    units: list[Unit] = []
    for row in range(first, end):
        if row > first:
            cost = _BLANK_INSIDE if rows.lines[row - 1].isspace() else INSIDE
        tokens = rows.sums[row + 1] - rows.sums[row]
        if tokens <= limit:
            units.append(Unit(rows.starts[row], tokens, cost, path))
            continue
        start = rows.starts[row]
        for piece, count in split_line(rows.lines[row], limit, counter):
            units.append(Unit(start, count, cost, path, broken=True))
            start += len(piece)
            cost = INSIDE
    return units


def pack(units: Sequence[Unit], capacity: Capacity) -> list[int]:
    """The units that chunks begin with, so that the sum of costs is least.

    A chunk costs 1, one of fewer than 32 tokens up to 1.2 more, a cut what the unit behind it says. Dynamic
    programming over the end of each chunk: O(units x units per chunk).
    """
    most, least = capacity.most, capacity.least
    best = [0.0] * (len(units) + 1)
    choice = [0] * (len(units) + 1)
    tokens = [unit.tokens for unit in units]
    costs = [unit.cost for unit in units]
    costs[0] = 0.0
    reserves: dict[Path, int] = {}
    for end in range(1, len(units) + 1):
        lowest, start_of_lowest = float("inf"), end - 1
        size = reserved = 0
        for start in range(end - 1, -1, -1):
            size += tokens[start]
            if size > least:
                path = units[start].path
                if not reserved:
                    reserved = max(_reserve(units[i].path, reserves, capacity) for i in range(start, end))
                else:
                    reserved = max(reserved, _reserve(path, reserves, capacity))
                if size + reserved > most and start < end - 1:
                    break
            cost = best[start] + costs[start]
            if size < TINY_TOKENS:
                cost += _TINY_COST * (1 - size / (2 * TINY_TOKENS))
            if cost < lowest:
                lowest, start_of_lowest = cost, start
        best[end] = lowest + 1
        choice[end] = start_of_lowest
    starts = []
    end = len(units)
    while end > 0:
        end = choice[end]
        starts.append(end)
    return starts[::-1]


def _reserve(path: Path, known: dict[Path, int], capacity: Capacity) -> int:
    tokens = known.get(path)
    if tokens is None:
        tokens = known[path] = capacity.reserve(path)
    return tokens


def path_of(units: Sequence[Unit]) -> Path:
    """The deepest path that covers more than half of the units' tokens: what a chunk of them is called."""
    if len(units) == 1:
        return units[0].path
    half = sum(unit.tokens for unit in units) / 2
    inside = units
    path: Path = ()
    while True:
        depth = len(path)
        deeper = [unit for unit in inside if len(unit.path) > depth]
        for name, group in groupby(sorted(deeper, key=lambda u: u.path[depth]), lambda u: u.path[depth]):
            members = list(group)
            if sum(unit.tokens for unit in members) > half:
                path, inside = (*path, name), members
                break
        else:
            return path
