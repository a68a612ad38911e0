"""The report: one HTML file that needs nothing else, in light and dark, on narrow and wide screens."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from vecloom.evaluate import parts, plots
from vecloom.evaluate.evaluation import FUSED, Evaluation, Run, sided_problems
from vecloom.evaluate.figures import TITLES, interval, signed, unsigned
from vecloom.evaluate.judged import Judged
from vecloom.evaluate.metrics import METRICS
from vecloom.evaluate.plots import escaped
from vecloom.evaluate.summary import Comparison, RunSummary, compared, summarised
from vecloom.version import __version__

_LIBRARIES = ("qdrant-edge-py", "qdrant-client", "onnxruntime", "openvino", "torch", "transformers", "numpy")


def evaluation_page(evaluation: Evaluation) -> str:
    """The report of one index."""
    runs, k = summarised(evaluation), evaluation.k
    by_name = {run.name: run for run in runs}
    fused, best = by_name[FUSED], evaluation.best_leg
    one = fused.metrics["ndcg"]
    tiles = [parts.tile(f"nDCG@{k} of the default search", unsigned(one.mean), f"95 %: {interval(one)}")]
    body = []
    if best is not None:
        leg = by_name[best.name].metrics["ndcg"]
        tiles.append(
            parts.tile(f"best single leg, {best.name}", unsigned(leg.mean), f"95 %: {interval(leg)}")
        )
        comparison = compared(evaluation.judged.queries, best, evaluation.fused)
        tiles.append(
            parts.difference_tile(f"{FUSED} less {best.name}", f"nDCG@{k}", comparison.differences["ndcg"])
        )
        body.append(_waterfall(evaluation.judged, best, evaluation.fused, (best.name, FUSED), comparison, k))
    tiles.append(
        parts.tile("a search takes", f"{fused.p50:.1f} ms", f"median; 95 % within {fused.p95:.1f} ms")
    )
    ordered = _ordered(runs)
    bars = parts.metric_bars((run.name, run.kind, run.metrics["ndcg"]) for run in ordered)
    hint = f"Mean over {fused.queries:,} queries; the line is the 95 % interval (bootstrap over queries)."
    sections = [
        parts.section(f"nDCG@{k} by search", hint, bars),
        *body,
        parts.section(
            "All figures",
            "Differences are paired: the same queries, resampled together.",
            parts.figures_table(ordered, k),
        ),
    ]
    sizes = Counter(query.category for query in evaluation.judged.queries)
    if fused.categories:
        sections.append(
            parts.section(
                f"nDCG@{k} by category",
                "",
                parts.category_table(ordered, {name: sizes[name] for name in fused.categories}),
            )
        )
    latencies = [(run.name, run.kind, run.p50, run.p95) for run in ordered]
    sections.append(
        parts.section(
            "Time of a search",
            "The bar ends at the median, the thin line at the 95th percentile; models were loaded before.",
            parts.latency_bars(latencies),
        )
    )
    return _page([evaluation], k, tiles, sections)


def comparison_page(first: Evaluation, second: Evaluation) -> str:
    """The report of two indexes that were asked the same."""
    k = first.k
    names = ("A", "B")
    comparison = compared(first.judged.queries, first.fused, second.fused)
    summaries = [summarised(one)[-1] for one in (first, second)]
    tiles = [
        parts.tile(f"nDCG@{k} of {name}", unsigned(run.metrics["ndcg"].mean), one.place)
        for name, run, one in zip(names, summaries, (first, second), strict=True)
    ]
    tiles.append(parts.difference_tile("B less A", f"nDCG@{k}", comparison.differences["ndcg"]))
    styles = ("leg", "default")
    blocks = [
        parts.section(
            f"{TITLES[metric]}@{k}",
            _told(comparison, metric),
            parts.metric_bars(
                (name, style, run.metrics[metric])
                for name, style, run in zip(names, styles, summaries, strict=True)
            ),
        )
        for metric in METRICS
    ]
    blocks.append(_waterfall(first.judged, first.fused, second.fused, names, comparison, k))
    if comparison.changed:
        blocks.append(
            parts.section(
                f"Queries that changed most, nDCG@{k}", "", parts.changes_table(comparison.changed, names)
            )
        )
    latencies = [
        (name, style, run.p50, run.p95) for name, style, run in zip(names, styles, summaries, strict=True)
    ]
    blocks.append(parts.section("Time of a search", "", parts.latency_bars(latencies)))
    return _page([first, second], k, tiles, blocks)


def _told(comparison: Comparison, metric: str) -> str:
    found = comparison.differences[metric]
    one = found.estimate
    return (
        f"B less A: {signed(one.mean)} (95 %: {interval(one, signed)}); {found.wins} queries "
        f"better, {found.losses} worse, {found.ties} equal"
    )


def _ordered(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """The default search, then fusions, then legs, the better first."""
    kinds = ("default", "fusion", "leg")
    return sorted(runs, key=lambda run: (kinds.index(run.kind), -run.metrics["ndcg"].mean))


def _waterfall(
    judged: Judged, before: Run, after: Run, names: tuple[str, str], comparison: Comparison, k: int
) -> str:
    titles = [
        f"{query.text}\n{names[0]} {unsigned(b)}, {names[1]} {unsigned(a)}"
        for query, b, a in zip(judged.queries, before.scores[:, 0], after.scores[:, 0], strict=True)
    ]
    found = comparison.differences["ndcg"]
    hint = (
        f"Each bar is a query, sorted: {names[1]} less {names[0]}. Better on {found.wins}, worse on "
        f"{found.losses}, equal on {found.ties}; point at a bar to read its query."
    )
    return parts.section(
        f"Query by query, nDCG@{k}", hint, plots.differences(comparison.deltas.tolist(), titles)
    )


def _page(evaluations: Sequence[Evaluation], k: int, tiles: Iterable[str], sections: Iterable[str]) -> str:
    judged = evaluations[0].judged
    both = len(evaluations) > 1
    problems = [
        parts.section(f"What the means hide{side}", "", parts.problem_list(found), "problems")
        for side, found in sided_problems(evaluations)
    ]
    notes = "".join(f"<li>{escaped(note)}</li>" for note in judged.notes)
    said = [parts.section("What these queries can say", "", f"<ul>{notes}</ul>")] if notes else []
    abouts = [
        parts.section(f"Index{f' {name}' if both else ''}", "", parts.about(one))
        for name, one in zip(("A", "B"), evaluations, strict=False)
    ]
    title = "Two indexes, the same queries" if both else "How well this index answers"
    places = " · ".join(one.place for one in evaluations)
    under = " · ".join([judged.name, f"{len(judged.queries):,} queries", f"the first {k} hits", places])
    style = files("vecloom.evaluate").joinpath("report.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escaped(title)}: {escaped(places)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{escaped(title)}</h1>
<p class="soft place">{escaped(under)}</p>
</header>
<div class="tiles">{"".join(tiles)}</div>
{"".join([*said, *problems, *sections, *abouts])}
<footer>{escaped(_versions())}</footer>
</main>
</body>
</html>
"""


def _versions() -> str:
    """What made the report."""
    told = [f"vecloom {__version__}", f"Python {platform.python_version()}"]
    for library in _LIBRARIES:
        try:
            told.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return " · ".join(told)
