"""From an outline to chunks: whole units where they fit, packed so that few and cheap cuts remain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from vecloom.chunking.outline import INSIDE, Outline, Path
from vecloom.chunking.rows import Rows, split_line
from vecloom.types import TokenCounter

#: A chunk of fewer tokens says too little to be found; it costs as much as two.
TINY_TOKENS = 32
_TINY_COST = 100
_CHUNK_COST = 100
# What is cheaper to cut before than behind is one unit up to this share of a chunk: fewer units to weigh.
_MERGED_SHARE = 10
_BLANK_INSIDE = 85
_NEVER = 1 << 62


class Unit(NamedTuple):
    """What is not cut any further: ``start`` is a character offset, ``cost`` that of a cut before it.

    ``broken`` marks a piece of a line, whose count need not add up with its neighbours'.
    """

    start: int
    tokens: int
    cost: int
    path: Path
    broken: bool = False


_NO_UNIT = Unit(0, 0, _NEVER, ())


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many tokens of text a chunk may have: ``most`` less what its header takes.

    ``least`` is what is left beside the longest header there can be; ``reserves`` gives the tokens that the
    headers of some paths take.
    """

    most: int
    least: int
    reserves: Callable[[Sequence[Path]], Sequence[int]]

    def holds(self, tokens: int, path: Path) -> bool:
        """True where a text of so many tokens fits a chunk of that path."""
        if tokens <= self.least:
            return True
        return tokens <= self.most and tokens + self.reserves([path])[0] <= self.most


def units_of(rows: Rows, outline: Outline, capacity: Capacity, counter: TokenCounter) -> list[Unit]:
    """The outline's stretches as units that each fit a chunk; longer ones are cut by lines, then within."""
    units: list[Unit] = []
    small = capacity.least // _MERGED_SHARE
    last = _NO_UNIT
    for unit in _stretches(rows, outline, capacity, counter):
        _, tokens, cost, path, broken = unit
        tokens += last.tokens
        if tokens <= small and cost >= last.cost and path == last.path and not (broken or last.broken):
            last = units[-1] = Unit(last.start, tokens, last.cost, path)
        else:
            units.append(unit)
            last = unit
    return units


def _stretches(rows: Rows, outline: Outline, capacity: Capacity, counter: TokenCounter) -> Iterator[Unit]:
    starts, sums, least = rows.starts, rows.sums, capacity.least
    ends = [*outline.rows[1:], len(rows.lines)]
    for first, end, cost, path in zip(outline.rows, ends, outline.costs, outline.paths, strict=True):
        tokens = sums[end] - sums[first]
        if tokens <= least or capacity.holds(tokens, path):
            yield Unit(starts[first], tokens, cost, path)
        else:
            yield from _lines(rows, first, end, cost, path, least, counter)


def _lines(
    rows: Rows, first: int, end: int, cost: int, path: Path, limit: int, counter: TokenCounter
) -> Iterator[Unit]:
    for row in range(first, end):
        if row > first:
            cost = _BLANK_INSIDE if rows.lines[row - 1].isspace() else INSIDE
        tokens = rows.sums[row + 1] - rows.sums[row]
        if tokens <= limit:
            yield Unit(rows.starts[row], tokens, cost, path)
            continue
        start = rows.starts[row]
        for piece, count in split_line(rows.lines[row], limit, counter):
            yield Unit(start, count, cost, path, broken=True)
            start += len(piece)
            cost = INSIDE


def pack(units: Sequence[Unit], capacity: Capacity) -> list[int]:
    """The units that chunks begin with, so that the sum of costs is least.

    A chunk costs 100, one of fewer than 32 tokens another 100, a cut what the unit behind it says. Dynamic
    programming over the ends of chunks; of equal choices the longer chunk is taken. Costs are whole numbers,
    so that an edit changes no choice far from it.
    """
    most = capacity.most
    reserves = _reserves(units, capacity)
    sums = list(accumulate((unit.tokens for unit in units), initial=0))
    onward = [_CHUNK_COST + unit.cost for unit in units[1:]] + [0]
    cuts = [0]  # cuts[i]: the least cost of all before unit i, a cut there included
    choice: list[int] = []
    first = tiny = 0  # first..last is the longest chunk, tiny..last the longest tiny one
    widest = 0  # the widest header among first..last
    for last, total in enumerate(sums[1:]):
        if reserves[last] >= reserves[widest]:
            widest = last
        while sums[first] + most < total + reserves[widest] and first < last:
            first += 1
            if widest < first:
                widest = max(range(first, last + 1), key=reserves.__getitem__)
        while sums[tiny] <= total - TINY_TOKENS:
            tiny += 1
        lowest, start = _NEVER, first
        if first < tiny:
            full = cuts[first:tiny]
            lowest = min(full)
            start += full.index(lowest)
        if tiny <= last:
            small = cuts[max(first, tiny) :]
            least = min(small)
            if least + _TINY_COST < lowest:
                lowest, start = least + _TINY_COST, max(first, tiny) + small.index(least)
        choice.append(start)
        cuts.append(lowest + onward[last])
    return _followed(choice)


def _reserves(units: Sequence[Unit], capacity: Capacity) -> list[int]:
    paths = list(dict.fromkeys([unit.path for unit in units]))
    known = dict(zip(paths, capacity.reserves(paths), strict=True))
    return [known[unit.path] for unit in units]


def _followed(choice: Sequence[int]) -> list[int]:
    """The starts of chunks, given for each end the start of the chunk that ends there."""
    starts = []
    end = len(choice)
    while end > 0:
        end = choice[end - 1]
        starts.append(end)
    return starts[::-1]


def path_of(units: Sequence[Unit]) -> Path:
    """The deepest path that covers more than half of the units' tokens: what a chunk of them is called."""
    paths = [unit.path for unit in units]
    if paths.count(paths[0]) == len(paths):
        return paths[0]
    half = sum(unit.tokens for unit in units) / 2
    covered: dict[Path, int] = {}
    for unit in units:
        for depth in range(1, len(unit.path) + 1):
            prefix = unit.path[:depth]
            covered[prefix] = covered.get(prefix, 0) + unit.tokens
    return max((path for path, tokens in covered.items() if tokens > half), key=len, default=())
