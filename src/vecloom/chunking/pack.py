"""From an outline to chunks: whole units where they fit, packed so that few and cheap cuts remain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

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


class Units:
    """What is not cut any further, in columns, because there are many.

    ``starts`` are character offsets, ``costs`` those of a cut before the unit. ``broken`` holds the units
    that are pieces of a line: their counts need not add up with their neighbours'.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.tokens: list[int] = []
        self.costs: list[int] = []
        self.paths: list[Path] = []
        self.broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: int, tokens: int, cost: int, path: Path) -> None:
        """Append a unit."""
        self.starts.append(start)
        self.tokens.append(tokens)
        self.costs.append(cost)
        self.paths.append(path)


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


def units_of(rows: Rows, outline: Outline, capacity: Capacity, counter: TokenCounter) -> Units:
    """The outline's stretches as units that each fit a chunk; longer ones are cut by lines, then within."""
    units = Units()
    small = capacity.least // _MERGED_SHARE
    starts, sums, least = rows.starts, rows.sums, capacity.least
    ends = [*outline.rows[1:], len(rows.lines)]
    last_tokens, last_cost, last_path = small, 0, None
    for first, end, cost, path in zip(outline.rows, ends, outline.costs, outline.paths, strict=True):
        tokens = sums[end] - sums[first]
        if tokens + last_tokens <= small and cost >= last_cost and path == last_path:
            last_tokens = units.tokens[-1] = tokens + last_tokens
        elif tokens <= least or capacity.holds(tokens, path):
            units.add(starts[first], tokens, cost, path)
            last_tokens, last_cost, last_path = tokens, cost, path
        else:
            _add_lines(units, rows, first, end, cost, path, capacity, counter)
            last_tokens = least
    return units


def _add_lines(
    units: Units,
    rows: Rows,
    first: int,
    end: int,
    cost: int,
    path: Path,
    capacity: Capacity,
    counter: TokenCounter,
) -> None:
    """The rows first..end-1 as units of one or more small lines, or of pieces of a long one."""
    small = capacity.least // _MERGED_SHARE
    gathered = small + 1  # tokens of the unit that small lines may still join
    for row in range(first, end):
        tokens = rows.sums[row + 1] - rows.sums[row]
        if tokens > capacity.least:
            _add_pieces(units, rows, row, cost, path, capacity.least, counter)
            gathered = small + 1
        elif gathered + tokens <= small and cost == INSIDE:
            gathered += tokens
            units.tokens[-1] = gathered
        else:
            units.add(rows.starts[row], tokens, cost, path)
            gathered = tokens
        cost = _BLANK_INSIDE if rows.lines[row].isspace() else INSIDE


def _add_pieces(
    units: Units, rows: Rows, row: int, cost: int, path: Path, limit: int, counter: TokenCounter
) -> None:
    start = rows.starts[row]
    for piece, tokens in split_line(rows.lines[row], limit, counter):
        units.broken.add(len(units))
        units.add(start, tokens, cost, path)
        start += len(piece)
        cost = INSIDE


def pack(units: Units, capacity: Capacity) -> list[int]:
    """The units that chunks begin with, so that the sum of costs is least.

    A chunk costs 100, one of fewer than 32 tokens another 100, a cut what the unit behind it says. Dynamic
    programming over the ends of chunks; of equal choices the longer chunk is taken. Costs are whole numbers,
    so that an edit changes no choice far from it. Linear in the units, however many fit a chunk.
    """
    most = capacity.most
    reserves = _reserves(units.paths, capacity)
    sums = list(accumulate(units.tokens, initial=0))
    onward = [_CHUNK_COST + cost for cost in units.costs[1:]] + [0]
    cuts = [0]  # cuts[i]: the least cost of all before unit i, a cut there included
    choice: list[int] = []
    first = tiny = 0  # first..last is the longest chunk, tiny..last the longest tiny one
    # The three hold units from ``first`` (``small``: from ``tiny``) on, the least or widest of them in front.
    full: deque[int] = deque()
    small: deque[int] = deque()
    widest: deque[int] = deque()
    for last, total in enumerate(sums[1:]):
        while widest and reserves[last] >= reserves[widest[-1]]:
            widest.pop()
        widest.append(last)
        while small and cuts[last] < cuts[small[-1]]:
            small.pop()
        small.append(last)
        while sums[first] + most < total + reserves[widest[0]] and first < last:
            first += 1
            if widest[0] < first:
                widest.popleft()
        while sums[tiny] <= total - TINY_TOKENS:
            if small and small[0] == tiny:
                small.popleft()
            while full and cuts[tiny] < cuts[full[-1]]:
                full.pop()
            full.append(tiny)
            tiny += 1
        while full and full[0] < first:
            full.popleft()
        while small and small[0] < first:
            small.popleft()
        lowest, start = _NEVER, first
        if full:
            lowest, start = cuts[full[0]], full[0]
        if small and cuts[small[0]] + _TINY_COST < lowest:
            lowest, start = cuts[small[0]] + _TINY_COST, small[0]
        choice.append(start)
        cuts.append(lowest + onward[last])
    return _followed(choice)


def _reserves(paths: Sequence[Path], capacity: Capacity) -> list[int]:
    distinct = list(dict.fromkeys(paths))
    known = dict(zip(distinct, capacity.reserves(distinct), strict=True))
    return [known[path] for path in paths]


def _followed(choice: Sequence[int]) -> list[int]:
    """The starts of chunks, given for each end the start of the chunk that ends there."""
    starts = []
    end = len(choice)
    while end > 0:
        end = choice[end - 1]
        starts.append(end)
    return starts[::-1]


def path_of(paths: Sequence[Path], tokens: Sequence[int]) -> Path:
    """The deepest path that covers more than half of the units' tokens: what a chunk of them is called."""
    if paths.count(paths[0]) == len(paths):
        return paths[0]
    half = sum(tokens) / 2
    covered: dict[Path, int] = {}
    for path, size in zip(paths, tokens, strict=True):
        for depth in range(1, len(path) + 1):
            prefix = path[:depth]
            covered[prefix] = covered.get(prefix, 0) + size
    return max((path for path, size in covered.items() if size > half), key=len, default=())
