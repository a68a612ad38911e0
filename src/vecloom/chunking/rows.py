"""A document as rows (lines counted from 0) with the number of tokens of each."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

from vecloom.types import TokenCounter

# Where a line that is too long is cut, best first: after a bare \r, a sentence or statement, a list element
# or white space, anything that is not within a word. Matches end where the cut may be.
_BREAKS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"\r(?!\n)",
        r"[.!?][\"')\]]*\s+|[。！？;}]",
        r"[,>)\]\s]+",
        r"\W(?=\w)|\w(?=\W)",
    )
)
# A word piece has 3 to 5 characters in most text; too long a first guess only costs a halving.
_CHARS_PER_TOKEN = 3


class Rows:
    r"""The rows of a text, which end at "\n" only.

    ``lines`` keep their ends; ``starts`` [n + 1] are character offsets and ``sums`` [n + 1] running token
    counts, so that rows a..b-1 have ``sums[b] - sums[a]`` tokens (exactly so with an additive counter).
    """

    def __init__(self, text: str, counter: TokenCounter) -> None:
        self.text = text
        *ended, last = text.split("\n")
        self.lines = [line + "\n" for line in ended]
        if last:
            self.lines.append(last)
        self.starts = [0, *accumulate(map(len, self.lines))]
        self.sums = [0, *accumulate(counter.counts(self.lines))]


def split_line(line: str, limit: int, counter: TokenCounter) -> list[tuple[str, int]]:
    """Cut ``line`` into pieces of at most ``limit`` tokens each, with their counts, at the best places near.

    Only a piece of a single character may exceed the limit.
    """
    pending = [(piece, -1) for piece in _cut_all(line, limit * _CHARS_PER_TOKEN)]
    while True:
        unknown = [piece for piece, tokens in pending if tokens < 0]
        if not unknown:
            return pending
        counts = iter(counter.counts(unknown))
        counted = [(piece, next(counts) if tokens < 0 else tokens) for piece, tokens in pending]
        pending = []
        for piece, tokens in counted:
            if tokens <= limit or len(piece) == 1:
                pending.append((piece, tokens))
            else:
                middle = cut_near(piece, (len(piece) + 1) // 2)
                pending += [(piece[:middle], -1), (piece[middle:], -1)]


def _cut_all(line: str, size: int) -> list[str]:
    pieces = []
    start = 0
    while len(line) - start > size:
        window = line[start : start + size + 1]
        end = start + cut_near(window, size)
        pieces.append(line[start:end])
        start = end
    pieces.append(line[start:])
    return pieces


def cut_near(text: str, at: int) -> int:
    """The best place to cut ``text`` near ``at`` and not behind it, 1 <= place < len(text).

    ``text`` has two characters or more. Characters that combine with the one before them stay with it where
    there is another place within reach.
    """
    at = max(1, min(at, len(text) - 1))
    reach = max(1, at - at // 3)
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(text, reach - 1, at + 1)]
        place = next((end for end in reversed(ends) if reach <= end <= at and not _joined(text, end)), 0)
        if place:
            return place
    for place in range(at, reach - 1, -1):
        if not _joined(text, place):
            return place
    return at


def _joined(text: str, at: int) -> bool:
    """True where a cut before ``text[at]`` would part what is drawn, or ends a line, as one."""
    left, right = text[at - 1], text[at]
    if left == "\r" and right == "\n":
        return True
    if right < "\u0300":
        return False
    return (
        left == "\u200d"
        or right == "\u200d"
        or "\ufe00" <= right <= "\ufe0f"
        or "\U0001f3fb" <= right <= "\U0001f3ff"
        or unicodedata.combining(right) > 0
    )
