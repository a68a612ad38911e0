"""Runs as figures: means with intervals, differences, categories, latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecloom.evaluate.bootstrap import Difference, Estimate, difference, estimates
from vecloom.evaluate.evaluation import Evaluation, Run, RunKind
from vecloom.evaluate.judged import JudgedQuery
from vecloom.evaluate.metrics import METRICS

#: Queries that changed most: so many are told.
MOST_CHANGED = 10


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run's figures, by metric (a name of `METRICS`).

    ``against``: this run less the default search, empty for that one itself. ``categories``: name -> metric
    -> mean. ``p50`` and ``p95`` are milliseconds of a search.
    """

    name: str
    kind: RunKind
    queries: int
    metrics: Mapping[str, Estimate]
    against: Mapping[str, Difference]
    categories: Mapping[str, Mapping[str, float]]
    p50: float
    p95: float


def summarised(evaluation: Evaluation) -> tuple[RunSummary, ...]:
    """All runs' figures, in the order of the runs."""
    runs, fused = evaluation.runs, evaluation.fused
    columns = [run.scores for run in runs] + [run.scores - fused.scores for run in runs]
    found = estimates(np.concatenate(columns, axis=1))
    groups = _groups(evaluation.judged.queries)
    made = []
    for number, run in enumerate(runs):
        own = found[number * len(METRICS) :][: len(METRICS)]
        apart = found[(len(runs) + number) * len(METRICS) :][: len(METRICS)]
        p50, p95 = np.percentile(run.milliseconds, [50, 95])
        made.append(
            RunSummary(
                name=run.name,
                kind=run.kind,
                queries=len(run.scores),
                metrics=dict(zip(METRICS, own, strict=True)),
                against={} if run is fused else _differences(run, fused, apart),
                categories=_by_category(run, groups),
                p50=float(p50),
                p95=float(p95),
            )
        )
    return tuple(made)


def _differences(ours: Run, theirs: Run, apart: Sequence[Estimate]) -> dict[str, Difference]:
    return {
        metric: difference(ours.scores[:, column], theirs.scores[:, column], apart[column])
        for column, metric in enumerate(METRICS)
    }


def _groups(queries: Sequence[JudgedQuery]) -> dict[str, list[int]]:
    """Category -> rows; empty where no query has one."""
    groups: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        groups.setdefault(query.category, []).append(row)
    return dict(sorted(groups.items())) if set(groups) != {""} else {}


def _by_category(run: Run, groups: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    return {
        name: dict(zip(METRICS, run.scores[rows].mean(axis=0).tolist(), strict=True))
        for name, rows in groups.items()
    }


@dataclass(frozen=True, slots=True)
class Change:
    """A query whose nDCG differs between two runs."""

    query: JudgedQuery
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs over the same queries: second less first, by metric.

    ``changed``: the queries whose nDCG changed most, in the order of the change. ``deltas`` float64
    [queries]: the change of nDCG of each query.
    """

    differences: Mapping[str, Difference]
    changed: tuple[Change, ...]
    deltas: NDArray[np.float64]


def compared(queries: Sequence[JudgedQuery], first: Run, second: Run) -> Comparison:
    """What the second run does better or worse than the first."""
    apart = second.scores - first.scores
    deltas = apart[:, 0]
    apart_rows = map(int, np.flatnonzero(np.abs(deltas) > 1e-9))
    most = sorted(apart_rows, key=lambda row: (-abs(deltas[row]), row))
    chosen = sorted(most[:MOST_CHANGED], key=lambda row: deltas[row])
    changed = (Change(queries[r], float(first.scores[r, 0]), float(second.scores[r, 0])) for r in chosen)
    return Comparison(_differences(second, first, estimates(apart)), tuple(changed), deltas)
