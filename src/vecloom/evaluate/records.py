"""Evaluations as plain objects, one a run: what ``--json`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vecloom.evaluate.evaluation import Evaluation
from vecloom.evaluate.metrics import METRICS
from vecloom.evaluate.summary import RunSummary, compared, summarised


def run_records(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One object a run: name, metrics (0 to 1), queries, intervals, differences, latencies, problems."""
    problems = {one.key: one.count for one in evaluation.problems}
    for run in summarised(evaluation):
        yield _record(run, evaluation.k) | {"problems": problems, "index": evaluation.place}


def comparison_records(first: Evaluation, second: Evaluation) -> Iterator[dict[str, Any]]:
    """The default search of both, then an object of their differences: second less first."""
    for side, one in (("A", first), ("B", second)):
        for record in run_records(one):
            yield {"side": side} | record
    found = compared(first.judged.queries, first.fused, second.fused)
    keys = {metric: f"{metric}@{first.k}" for metric in METRICS}
    yield {
        "side": "B-A",
        "name": "difference",
        **{keys[metric]: one.estimate.mean for metric, one in found.differences.items()},
        "queries": len(found.deltas),
        "intervals": {
            keys[metric]: [one.estimate.low, one.estimate.high] for metric, one in found.differences.items()
        },
        "queries_won": {
            keys[metric]: {"wins": one.wins, "losses": one.losses, "ties": one.ties}
            for metric, one in found.differences.items()
        },
        "changed": [
            {"id": change.query.id, "query": change.query.text, "a": change.before, "b": change.after}
            for change in found.changed
        ],
    }


def _record(run: RunSummary, k: int) -> dict[str, Any]:
    keys = {metric: f"{metric}@{k}" for metric in METRICS}
    return {
        "name": run.name,
        **{keys[metric]: one.mean for metric, one in run.metrics.items()},
        "queries": run.queries,
        "intervals": {keys[metric]: [one.low, one.high] for metric, one in run.metrics.items()},
        "against_fused": {
            keys[metric]: {
                "mean": one.estimate.mean,
                "interval": [one.estimate.low, one.estimate.high],
                "wins": one.wins,
                "losses": one.losses,
                "ties": one.ties,
            }
            for metric, one in run.against.items()
        },
        "categories": {name: _keyed(values, keys) for name, values in run.categories.items()},
        "latency_ms": {"p50": run.p50, "p95": run.p95},
    }


def _keyed(values: Mapping[str, float], keys: Mapping[str, str]) -> dict[str, float]:
    return {keys[metric]: value for metric, value in values.items()}
