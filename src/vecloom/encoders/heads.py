"""From a transformer's last layer to the vectors of one row: pooled, or through a head of the model's own.

A head takes the states batch by batch and leaves its results on the device, so that nothing waits for it; the
vectors are fetched at the end.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.tokens import TokenRows
from vecloom.encoders.transformer import LEAST_ROWS, States
from vecloom.registry import ModelSpec
from vecloom.types import SparseRows, Vectors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ID_BITS = 32
_ID_MASK = 0xFFFFFFFF


class Head(Protocol):
    """What makes one row's vectors of the last layer's states."""

    def add(self, states: States) -> None:
        """Take a batch."""
        ...

    def vectors(self) -> Vectors:
        """The vectors of all texts, in the order in which they were given."""
        ...


class DenseHead:
    """Pooling in float32: mean of the tokens, first or last; cut and normalised as the row says."""

    def __init__(self, spec: ModelSpec, hidden: int) -> None:
        self._spec = spec
        self._dim = spec.dim or hidden
        self._parts: list[Tensor] = []
        self._texts: list[NDArray[np.int64]] = []

    def add(self, states: States) -> None:
        """Take a batch."""
        import torch

        hidden, starts = states.hidden, states.starts
        match self._spec.pooling:
            case "cls":
                pooled = hidden[starts[:-1]].float()
            case "last":
                pooled = hidden[starts[1:] - 1].float()
            case _:
                pooled = torch.segment_reduce(hidden.float(), "mean", offsets=starts, axis=0)
        pooled = pooled[:, : self._dim]
        if self._spec.normalise:
            pooled = torch.nn.functional.normalize(pooled)
        self._parts.append(pooled)
        self._texts.append(states.texts)

    def vectors(self) -> NDArray[np.float32]:
        """Float32 [texts, dim]."""
        import torch

        if not self._parts:
            return np.empty((0, self._dim), dtype=np.float32)
        found: NDArray[np.float32] = torch.cat(self._parts).cpu().numpy()
        ordered = np.empty_like(found)
        ordered[np.concatenate(self._texts)] = found
        return ordered


class SparseHead:
    """A weight for every token, relu of a linear map: of each token of a text the largest counts.

    As FlagEmbedding does it for bge-m3 (``inference/embedder/encoder_only/m3.py``): the index is the token's
    id; some special tokens and weights that are not above 0 are left out.
    """

    def __init__(self, linear: torch.nn.Linear, rows: TokenRows, dropped: NDArray[np.int64]) -> None:
        self._linear = linear
        self._rows = rows
        self._dropped = dropped
        self._parts: list[Tensor] = []
        self._texts: list[NDArray[np.int64]] = []

    def add(self, states: States) -> None:
        """Take a batch."""
        self._parts.append(_mapped(self._linear, states.hidden)[:, 0].relu())
        self._texts.append(states.texts)

    def vectors(self) -> SparseRows:
        """One row a text."""
        import torch

        rows = self._rows
        count = len(rows.lengths)
        texts = np.concatenate([np.zeros(0, dtype=np.int64), *self._texts])
        lengths = rows.lengths[texts]
        ends = np.cumsum(lengths)
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        ids = rows.ids[np.repeat(rows.starts[texts], lengths) + within].astype(np.int64)
        weights = torch.cat(self._parts).cpu().numpy() if self._parts else np.zeros(0, dtype=np.float32)
        kept = (weights > 0) & ~np.isin(ids, self._dropped)
        keys = ((np.repeat(texts, lengths) << _ID_BITS) | ids)[kept]
        order = np.argsort(keys, kind="stable")
        unique, first = np.unique(keys[order], return_index=True)
        values = np.maximum.reduceat(weights[kept][order], first) if len(first) else weights[:0]
        indptr = np.searchsorted(unique, np.arange(count + 1, dtype=np.int64) << _ID_BITS)
        return SparseRows(indptr, (unique & _ID_MASK).astype(np.uint32), values)


class MultivectorHead:
    """A vector for every token but the first, a linear map scaled to length 1, as ColBERT has them."""

    def __init__(self, linear: torch.nn.Linear, count: int) -> None:
        self._linear = linear
        self._found: list[NDArray[np.float32]] = [np.empty((0, linear.out_features), np.float32)] * count

    def add(self, states: States) -> None:
        """Take a batch, and fetch its vectors: there are too many to leave them on the device."""
        import torch

        mapped = torch.nn.functional.normalize(_mapped(self._linear, states.hidden)).cpu().numpy()
        bounds = np.concatenate([[0], np.cumsum(states.lengths)]).tolist()
        for text, (start, end) in zip(states.texts.tolist(), pairwise(bounds), strict=True):
            self._found[text] = mapped[start + 1 : end].copy()

    def vectors(self) -> list[NDArray[np.float32]]:
        """Float32 [tokens - 1, dim] of each text."""
        return self._found


def _mapped(linear: torch.nn.Linear, hidden: Tensor) -> Tensor:
    """The linear map of each row in float32, the same to the last bit beside any number of other rows."""
    import torch

    filling = max(0, LEAST_ROWS - len(hidden)) if hidden.device.type == "cpu" else 0
    mapped: Tensor = linear(torch.nn.functional.pad(hidden.float(), (0, 0, 0, filling)))
    return mapped[: len(hidden)]
