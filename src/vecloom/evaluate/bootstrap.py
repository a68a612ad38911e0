"""How far a mean over queries could be off: the percentile bootstrap (Efron and Tibshirani, 1993)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Resamples, of a fixed seed: the same scores give the same intervals.
RESAMPLES = 10_000
SEED = 20
#: Per cent of the resamples that an interval leaves out on either side: it holds 95.
_TAIL = 2.5
#: Draws that are held at once.
_DRAWS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of paired differences with its 95 % interval, and how many queries won, lost or tied."""

    estimate: Estimate
    wins: int
    losses: int
    ties: int


def estimates(values: NDArray[np.float64]) -> list[Estimate]:
    """For each column of ``values`` [queries, columns] its mean and interval.

    All columns are resampled by the same draws of queries, so columns of differences are paired.
    """
    queries, columns = values.shape
    if not queries:
        return [Estimate(0.0, 0.0, 0.0)] * columns
    draw = np.random.default_rng(SEED)
    rows = max(1, _DRAWS // queries)
    means = np.empty((RESAMPLES, columns))
    for begin in range(0, RESAMPLES, rows):
        block = min(rows, RESAMPLES - begin)
        drawn = draw.integers(0, queries, (block, queries)) + queries * np.arange(block)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=block * queries).reshape(block, queries)
        means[begin : begin + block] = counts @ values / queries
    low, high = np.percentile(means, [_TAIL, 100 - _TAIL], axis=0)
    return [
        Estimate(float(m), float(a), float(b)) for m, a, b in zip(values.mean(axis=0), low, high, strict=True)
    ]


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], estimate: Estimate) -> Difference:
    """The paired difference ours - theirs [queries], of which ``estimate`` is known.

    A query is won where the difference is above 0 by more than rounding.
    """
    apart = ours - theirs
    wins, losses = int((apart > 1e-9).sum()), int((apart < -1e-9).sum())
    return Difference(estimate, wins, losses, len(apart) - wins - losses)
