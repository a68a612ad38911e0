"""Evaluations as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from vecloom.evaluate.evaluation import FUSED, Evaluation
from vecloom.evaluate.figures import TITLES, interval, signed, unsigned
from vecloom.evaluate.judged import Problem
from vecloom.evaluate.metrics import METRICS
from vecloom.evaluate.summary import RunSummary, compared, summarised

_QUERY = 60


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """A table of the runs, then one of their categories."""
    runs, k = summarised(evaluation), evaluation.k
    rows = [_run_row(run) for run in runs]
    head = ["", f"nDCG@{k}", "95 %", f"recall@{k}", f"MRR@{k}", f"less {FUSED}", "95 %", "p50 ms"]
    lines = [
        f"{evaluation.judged.name}: {len(evaluation.judged.queries):,} queries; {evaluation.place}: "
        f"{evaluation.files:,} files, {evaluation.chunks:,} chunks",
        *_table([head, *rows]),
    ]
    if runs[-1].categories:
        sizes = Counter(query.category for query in evaluation.judged.queries)
        body = [
            [name or "none", f"{sizes[name]:,}", *(unsigned(run.categories[name]["ndcg"]) for run in runs)]
            for name in runs[-1].categories
        ]
        lines += ["", *_table([[f"nDCG@{k}", "queries", *(run.name for run in runs)], *body])]
    return lines


def comparison_lines(first: Evaluation, second: Evaluation) -> list[str]:
    """Both indexes' means, the paired differences, and the queries that changed most."""
    k = first.k
    found = compared(first.judged.queries, first.fused, second.fused)
    a, b = (summarised(one)[-1] for one in (first, second))
    rows = [["", "A", "B", "B less A", "95 %", "better", "worse", "equal"]]
    for metric in METRICS:
        one = found.differences[metric]
        rows.append(
            [
                f"{TITLES[metric]}@{k}",
                unsigned(a.metrics[metric].mean),
                unsigned(b.metrics[metric].mean),
                signed(one.estimate.mean),
                interval(one.estimate, signed),
                *(f"{number:,}" for number in (one.wins, one.losses, one.ties)),
            ]
        )
    rows.append(["p50 ms", f"{a.p50:.1f}", f"{b.p50:.1f}", *[""] * 5])
    lines = [
        f"{first.judged.name}: {len(first.judged.queries):,} queries",
        f"A  {first.place}",
        f"B  {second.place}",
        *_table(rows),
    ]
    if found.changed:
        changes = [
            [_cut(one.query.text), unsigned(one.before), unsigned(one.after), signed(one.after - one.before)]
            for one in found.changed
        ]
        lines += ["", *_table([[f"nDCG@{k}, changed most", "A", "B", "change"], *changes])]
    return lines


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """One line a problem, with examples."""
    return [
        f"{one.text} (such as {'; '.join(map(_cut, one.examples))})" if one.examples else one.text
        for one in problems
    ]


def _run_row(run: RunSummary) -> list[str]:
    one, apart = run.metrics["ndcg"], run.against.get("ndcg")
    return [
        run.name,
        unsigned(one.mean),
        interval(one),
        unsigned(run.metrics["recall"].mean),
        unsigned(run.metrics["mrr"].mean),
        *((signed(apart.estimate.mean), interval(apart.estimate, signed)) if apart else ("", "")),
        f"{run.p50:.1f}",
    ]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUERY else f"{line[: _QUERY - 1]}…"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be, the first one flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
