"""Which passes run for the vectors asked, each equal text once, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import Ahead, Encoder, Fielded, PassStats
from vecloom.encoders.load import Pass
from vecloom.encoders.terms import stack_rows
from vecloom.errors import UsageError
from vecloom.types import Passage, SparseRows, Text, Vectors

#: Texts, and the names of the vectors to make of them.
Window: TypeAlias = tuple[Sequence[Text], Sequence[str]]
#: Vectors by name, and what each pass cost, beside the names that it was asked for.
Encoded: TypeAlias = "tuple[dict[str, Vectors], list[tuple[tuple[str, ...], PassStats]]]"


class Engine:
    """The encoders of an index, asked by vector name."""

    def __init__(self, encoders: Iterable[Encoder]) -> None:
        self.encoders = tuple(encoders)
        self.names = tuple(name for encoder in self.encoders for name in encoder.names)

    @property
    def passes(self) -> tuple[tuple[str, ...], ...]:
        """The vector names, grouped by the pass that yields them."""
        return tuple(encoder.names for encoder in self.encoders)

    def encode_documents(
        self, texts: Sequence[Text], names: Sequence[str] | None = None
    ) -> tuple[dict[str, Vectors], PassStats]:
        """Vectors of stored texts by name (all, or those of ``names``), and the passes' figures, summed.

        Equal texts are encoded once; the figures count them once, and as ``reused`` after that. What a text
        gives does not depend on the texts beside it.

        Raises:
            UsageError: a name that no encoder yields.
            EncodingError: a model gave what cannot be stored.
        """
        vectors, costs = self.encode_window((texts, self.names if names is None else names))
        return vectors, sum((cost for _, cost in costs), PassStats())

    def encode_window(self, window: Window) -> Encoded:
        """`encode_documents` of a window, with the figures of each pass beside the names that it yields."""
        texts, names = window
        distinct = list(dict.fromkeys(texts))
        rows = _rows_in(distinct, texts)
        plain: list[str] = []
        vectors: dict[str, Vectors] = {}
        costs = []
        for encoder, wanted in self.wanted(names):
            if isinstance(encoder, Fielded):
                found, stats = encoder.encode_passages(list(map(_passage, distinct)), wanted)
            else:
                plain = plain or list(map(_plain, distinct))
                found, stats = encoder.encode_documents(plain, wanted)
            costs.append((wanted, replace(stats, reused=len(texts) - len(distinct))))
            vectors |= found if rows is None else {name: take_rows(v, rows) for name, v in found.items()}
        return vectors, costs

    def encode_queries(self, texts: Sequence[str], names: Sequence[str] | None = None) -> dict[str, Vectors]:
        """Vectors of search queries by name (all, or those of ``names``).

        Raises:
            UsageError: a name that no encoder yields.
        """
        vectors: dict[str, Vectors] = {}
        for encoder, wanted in self.wanted(names):
            vectors |= encoder.encode_queries(texts, wanted)
        return vectors

    def terms(self, texts: Sequence[str], vectors: Mapping[str, Vectors]) -> dict[str, list[list[str]]]:
        """For each text the stem behind every index of its sparse vectors, by vector name.

        ``vectors``: those that `encode_documents` or `encode_queries` gave for these texts; dense ones are
        left out.

        Raises:
            UsageError: a name that no encoder yields.
        """
        found: dict[str, list[list[str]]] = {}
        for encoder, wanted in self.wanted(tuple(vectors)):
            given = ((name, vectors[name]) for name in wanted)
            rows = {name: value for name, value in given if isinstance(value, SparseRows)}
            for name, terms in encoder.terms(texts, rows).items():
                bounds = rows[name].indptr.tolist()
                found[name] = [terms[start:end] for start, end in pairwise(bounds)]
        return found

    def wanted(self, names: Sequence[str] | None) -> list[tuple[Encoder, tuple[str, ...]]]:
        """The encoders that yield any of ``names``, each with those it yields."""
        asked = self.names if names is None else tuple(names)
        unknown = [name for name in asked if name not in self.names]
        if unknown:
            raise UsageError(f"no model gives the vector {unknown[0]!r}; there are {', '.join(self.names)}")
        pairs = ((e, tuple(name for name in e.names if name in asked)) for e in self.encoders)
        return [(encoder, wanted) for encoder, wanted in pairs if wanted]


class EncodingStage:
    """A stage (see `vecloom.runners`) that encodes windows of stored texts by passes loaded on ``device``."""

    def __init__(self, passes: Sequence[Pass], device: str) -> None:
        self._engine = Engine(one.load(device) for one in passes)

    def __call__(self, window: Window) -> Encoded:
        """The vectors of a window; see `Engine.encode_window`."""
        return self._engine.encode_window(window)

    def prepare(self, window: Window) -> None:
        """Tokenise a window ahead, while another one is encoded."""
        texts, names = window
        distinct = list(map(_plain, dict.fromkeys(texts)))
        for encoder, _ in self._engine.wanted(names):
            if isinstance(encoder, Ahead):
                encoder.prepare(distinct)


def take_rows(vectors: Vectors, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
    """The given rows of vectors, in the given order, repeats included."""
    chosen = np.asarray(rows, dtype=np.int64)
    if isinstance(vectors, SparseRows):
        starts = vectors.indptr[chosen]
        sizes = vectors.indptr[chosen + 1] - starts
        indptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
        places = np.repeat(starts - indptr[:-1], sizes) + np.arange(indptr[-1])
        return SparseRows(indptr, vectors.indices[places], vectors.values[places])
    if isinstance(vectors, list):
        return [vectors[row] for row in chosen]
    return vectors[chosen]


def stack_vectors(parts: Sequence[Vectors]) -> Vectors:
    """Vectors of one name below each other; there is at least one part."""
    first = parts[0]
    if isinstance(first, SparseRows):
        return stack_rows([part for part in parts if isinstance(part, SparseRows)])
    if isinstance(first, list):
        return [matrix for part in parts if isinstance(part, list) for matrix in part]
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])


def spans(sizes: NDArray[np.int64], most: int, most_bytes: int) -> Iterator[range]:
    """Rows of these sizes in runs of at most so many rows and bytes, but one row whatever its size."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        fits = int(np.searchsorted(ends, before + most_bytes, side="right"))
        last = max(first + 1, min(first + most, fits))
        yield range(first, last)
        first = last


def _plain(text: Text) -> str:
    return text if isinstance(text, str) else text.encoded_text


def _passage(text: Text) -> Passage:
    return Passage("", text) if isinstance(text, str) else text


def _rows_in(distinct: Sequence[Text], texts: Sequence[Text]) -> NDArray[np.int64] | None:
    """Where each text stands among the distinct ones; None where they are the same list."""
    if len(distinct) == len(texts):
        return None
    places = {text: row for row, text in enumerate(distinct)}
    return np.fromiter(map(places.__getitem__, texts), dtype=np.int64, count=len(texts))
