"""Figures as a person reads them, in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable

from vecloom.evaluate.bootstrap import Estimate

#: Metric -> what it is called.
TITLES = {"ndcg": "nDCG", "recall": "Recall", "mrr": "MRR"}


def signed(value: float) -> str:
    """A difference as it is written: ``+.031``, ``−.008``; none at all as ``.000``."""
    sign = "+" if value > 1e-9 else "−" if value < -1e-9 else ""
    return sign + unsigned(abs(value))


def unsigned(value: float) -> str:
    """A metric as it is written: ``.752``."""
    return f"{value:.3f}".removeprefix("0")


def interval(estimate: Estimate, write: Callable[[float], str] = unsigned) -> str:
    """An interval as it is written: ``.701 to .802``."""
    return f"{write(estimate.low)} to {write(estimate.high)}"
