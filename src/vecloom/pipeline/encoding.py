"""Texts in memory to vectors in memory, window by window, by whatever runs the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import PassStats
from vecloom.encoders.load import Pass, groups_of
from vecloom.encoders.terms import stack_rows
from vecloom.engine import Window, spans, take_rows
from vecloom.pipeline.filling import WindowSize, window_size
from vecloom.pipeline.report import Listener, Progress, Whole, quiet
from vecloom.pipeline.setup import engine_of, runner_for
from vecloom.runners import in_turn
from vecloom.types import SparseRows, Vectors
from vecloom.weights import unheard

#: What each pass cost, beside the names that it yields.
_Costs: TypeAlias = Sequence[tuple[tuple[str, ...], PassStats]]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What models give for texts, by vector name; rows stand in the order of the texts.

    ``terms``: of every sparse vector, for each text, the stem behind each index; empty where not asked for.
    ``costs``: what the pass did that yields the vector, cut texts and tokens among it. ``windows``: how many
    the texts were encoded in.
    """

    vectors: Mapping[str, Vectors]
    terms: Mapping[str, Sequence[Sequence[str]]]
    costs: Mapping[str, PassStats]
    windows: int

    def sparse_lists(self, name: str) -> list[dict[str, Any]]:
        """A sparse vector as plain lists: for each text ``indices``, ``values`` and ``tokens``, its terms."""
        rows = self.vectors[name]
        if not isinstance(rows, SparseRows):
            raise ValueError(f"{name!r} is no sparse vector")
        terms = self.terms[name]
        pairs = (rows.row(text) for text in range(len(rows)))
        return [
            {"indices": indices.tolist(), "values": values.tolist(), "tokens": list(terms[text])}
            for text, (indices, values) in enumerate(pairs)
        ]


def encode_documents(
    texts: Sequence[str],
    passes: Sequence[Pass],
    names: Sequence[str],
    *,
    terms: bool = False,
    notice: Callable[[str], None] = unheard,
    listener: Listener = quiet,
) -> Encoding:
    """The vectors ``names`` of stored texts; passes that yield none of them do not run.

    Equal texts are encoded once; beside the results only windows are held. ``terms``: also tell what the
    indices of sparse vectors stand for.

    Raises:
        EncodingError: a model gave what cannot be stored, or its workers die again and again.
        WeightsError: a model's files cannot be read.
    """
    backlog, gathered = _Texts(texts), _Gathered(len(texts))
    wanted = [one for one in passes if set(one.names) & set(names)]
    named = engine_of([one for one in wanted if terms and any(row.kind == "sparse" for row in one.specs)])
    whole = Whole({one.names: float(max(1, one.weight_bytes)) for one in wanted}, listener)
    for group in groups_of(wanted):
        asked = tuple(name for one in group for name in one.names if name in names)
        tell = _Teller(backlog, asked, whole.listener(one.names for one in group))
        with closing(runner_for(group, notice)) as runner:
            for (window, _), (vectors, costs) in in_turn(runner, backlog.windows(asked, window_size(group))):
                found = cast("Sequence[str]", window)
                places = backlog.places(found)
                gathered.add(places, vectors, costs)
                of_terms = {name: vectors[name] for name in asked if name in named.names}
                gathered.name(places, named.terms(found, of_terms))
                tell(found, sum(cost.tokens for _, cost in costs))
    return gathered.encoding(reused=len(texts) - len(backlog))


class _Texts:
    """Distinct texts, longest first, so that a window holds texts of one length; and where each stands."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            self._places.setdefault(text, []).append(place)
        self._texts = sorted(self._places, key=_size_of, reverse=True)
        self.sizes = np.fromiter(map(_size_of, self._texts), dtype=np.int64, count=len(self._texts))

    def __len__(self) -> int:
        return len(self._texts)

    def windows(self, names: Sequence[str], most: WindowSize) -> Iterator[Window]:
        """The texts that are encoded at a time. Where there are none, one window that gives the widths."""
        for rows in spans(self.sizes, most.texts, most.size) if len(self) else [range(0)]:
            yield self._texts[rows.start : rows.stop], names

    def places(self, texts: Sequence[str]) -> list[list[int]]:
        """Where each of these distinct texts stands among all."""
        return [self._places[text] for text in texts]


class _Gathered:
    """What the windows give, put where its texts stand."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._dense: dict[str, NDArray[np.float32]] = {}
        self._matrices: dict[str, list[NDArray[np.float32]]] = {}
        self._sparse: dict[str, list[tuple[NDArray[np.int64], SparseRows]]] = {}
        self._terms: dict[str, list[Sequence[str]]] = {}
        self._costs: dict[str, PassStats] = {}
        self._windows = 0

    def add(self, places: Sequence[Sequence[int]], vectors: Mapping[str, Vectors], costs: _Costs) -> None:
        """Take a window: the vectors of its texts, and the places of each."""
        rows = np.repeat(np.arange(len(places)), [len(group) for group in places])
        all_places = np.fromiter(chain.from_iterable(places), dtype=np.int64, count=len(rows))
        for name, found in vectors.items():
            self._take(name, all_places, take_rows(found, rows))
        for names, cost in costs:
            for name in names:
                self._costs[name] = self._costs.get(name, PassStats()) + cost
        self._windows += 1

    def _take(self, name: str, places: NDArray[np.int64], found: Vectors) -> None:
        if isinstance(found, SparseRows):
            self._sparse.setdefault(name, []).append((places, found))
        elif isinstance(found, list):
            matrices = self._matrices.setdefault(name, [found[0]] * self._count if found else [])
            for place, matrix in zip(places.tolist(), found, strict=True):
                matrices[place] = matrix
        else:
            if name not in self._dense:
                self._dense[name] = np.empty((self._count, found.shape[1]), dtype=np.float32)
            self._dense[name][places] = found

    def name(self, places: Sequence[Sequence[int]], terms: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Take a window's terms: for each of its texts those of a vector."""
        for name, lists in terms.items():
            kept = self._terms.setdefault(name, [()] * self._count)
            for group, words in zip(places, lists, strict=True):
                for place in group:
                    kept[place] = words

    def encoding(self, reused: int) -> Encoding:
        """All of it. ``reused``: texts that are equal to another one."""
        sparse = {}
        for name, parts in self._sparse.items():
            order = np.argsort(np.concatenate([places for places, _ in parts]))
            sparse[name] = take_rows(stack_rows([rows for _, rows in parts]), order)
        return Encoding(
            {**self._dense, **self._matrices, **sparse},
            self._terms,
            {name: replace(cost, reused=reused) for name, cost in self._costs.items()},
            self._windows,
        )


class _Teller:
    """Tells a listener how far the texts are."""

    def __init__(self, backlog: _Texts, names: Sequence[str], listener: Listener) -> None:
        self._count, self._size = len(backlog), max(1, int(backlog.sizes.sum()))
        self._names = ", ".join(names)
        self._listener = listener
        self._done = self._bytes = self._tokens = 0

    def __call__(self, texts: Sequence[str], tokens: int) -> None:
        """A window is done; ``tokens`` went through its models."""
        self._done += len(texts)
        self._bytes += sum(map(_size_of, texts))
        self._tokens += tokens
        share = self._bytes / self._size
        self._listener(Progress("encode", self._done, self._count, "texts", self._names, self._tokens, share))


def _size_of(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
