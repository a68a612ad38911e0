"""The pipelines that people build today, each written as its libraries' documentation teaches.

A peer does what ``vecloom index`` and ``vecloom search`` do: it indexes a tree into a folder, and answers
from that folder. Those whose libraries have no chunker take the same windows of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

#: Characters of a window at most.
WINDOW = 1000

#: Hits of an answer, and candidates of each leg of a hybrid search.
LIMIT, CANDIDATES = 10, 100

_SUFFIXES = (".py", ".md", ".rst")

#: A question to its hits, best first, as ``path:start``.
Search: TypeAlias = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file as the models see it; ``start`` says where, by the pipeline's own measure."""

    path: str
    start: int
    text: str

    @property
    def name(self) -> str:
        """``path:start``, no two alike."""
        return f"{self.path}:{self.start}"


class Peer(Protocol):
    """One pipeline. Nothing heavy is imported before a method is called."""

    def index(self, tree: Path, home: Path) -> Search:
        """Index ``tree`` into ``home``, in which an earlier run may have left its index; ready to answer."""
        ...

    def open(self, home: Path) -> Search:
        """Open what `index` left in ``home``."""
        ...

    def stored(self, home: Path) -> Iterator[Passage]:
        """All that `index` left in ``home``, repeated where it is stored more than once."""
        ...


def windows(tree: Path) -> Iterator[Passage]:
    """Every file of the tree in windows of whole lines; a longer line is cut. Starts are in characters."""
    for path in sorted(path for path in tree.rglob("*") if path.suffix in _SUFFIXES):
        name = path.relative_to(tree).as_posix()
        start = 0
        for text in _windows_of(path):
            yield Passage(name, start, text)
            start += len(text)


def _windows_of(path: Path) -> Iterator[str]:
    held = ""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if held and len(held) + len(line) > WINDOW:
                yield held
                held = ""
            held += line
            while len(held) > WINDOW:
                yield held[:WINDOW]
                held = held[WINDOW:]
    if held:
        yield held


def fused(rankings: Iterable[Sequence[int]], k: int = 60) -> list[int]:
    """Reciprocal rank fusion: sum of 1/(k + rank) over the rankings, best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return sorted(scores, key=lambda item: -scores[item])


def peers() -> Mapping[str, Peer]:
    """The peers by name."""
    from bench.peers.fastembed_edge import FastEmbedEdge
    from bench.peers.semble_static import Semble
    from bench.peers.sentence_bm25s import SentenceBm25s
    from bench.peers.txtai_hybrid import Txtai

    return {
        "fastembed": FastEmbedEdge(),
        "sentence-transformers": SentenceBm25s(),
        "txtai": Txtai(),
        "semble": Semble(),
    }
