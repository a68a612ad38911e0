"""Parts of the report, each a piece of HTML; whatever text comes from users is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vecloom.evaluate import plots
from vecloom.evaluate.bootstrap import Difference, Estimate
from vecloom.evaluate.evaluation import FUSED, Evaluation
from vecloom.evaluate.figures import TITLES, interval, signed, unsigned
from vecloom.evaluate.judged import Problem
from vecloom.evaluate.metrics import METRICS
from vecloom.evaluate.plots import escaped
from vecloom.evaluate.summary import Change, RunSummary


def section(title: str, hint: str, body: str, style: str = "") -> str:
    """A card of the page. ``hint`` and ``title`` are text, ``body`` is HTML."""
    under = f'<p class="hint">{escaped(hint)}</p>' if hint else ""
    named = f' class="{style}"' if style else ""
    return f"<section{named}><h2>{escaped(title)}</h2>{under}{body}</section>"


def tile(name: str, figure: str, under: str, style: str = "") -> str:
    """A figure with its name above it, and what it means below it."""
    return (
        f'<div class="tile"><div class="name">{escaped(name)}</div>'
        f'<div class="figure {style}">{escaped(figure)}</div><div class="under">{escaped(under)}</div></div>'
    )


def difference_tile(name: str, metric: str, found: Difference) -> str:
    """A difference with its interval; coloured where the interval leaves out 0."""
    one = found.estimate
    style = "up" if one.low > 0 else "down" if one.high < 0 else ""
    under = f"{interval(one, signed)}; {found.wins} better, {found.losses} worse, {found.ties} equal"
    return tile(f"{metric}, {name}", signed(one.mean), under, style)


def metric_bars(rows: Iterable[tuple[str, str, Estimate]]) -> str:
    """Bars of (name, style, estimate) on a scale from 0 to 1, with intervals."""
    cells = []
    for name, style, one in rows:
        title = f"{name}: {unsigned(one.mean)}, 95 % {interval(one)}"
        drawn = plots.bar(one.mean, 1.0, style, title, (one.low, one.high))
        number = f"{unsigned(one.mean)} <small>{interval(one)}</small>"
        cells.append(_bar_row(name, style, drawn, number))
    return f'<div class="bars">{"".join(cells)}</div>'


def latency_bars(rows: Sequence[tuple[str, str, float, float]]) -> str:
    """Bars of (name, style, p50, p95) in milliseconds: to the median, and on to the 95th percentile."""
    most = max((p95 for *_, p95 in rows), default=1.0)
    cells = []
    for name, style, p50, p95 in rows:
        title = f"{name}: half of the searches within {p50:.1f} ms, 95 % within {p95:.1f} ms"
        drawn = plots.span(p50, p95, most, style, title)
        cells.append(_bar_row(name, style, drawn, f"{p50:.1f} ms <small>p95 {p95:.1f}</small>"))
    return f'<div class="bars">{"".join(cells)}</div>'


def _bar_row(name: str, style: str, drawn: str, number: str) -> str:
    main = " main" if style == "default" else ""
    return (
        f'<div class="label{main}">{escaped(name)}</div><div>{drawn}</div><div class="number">{number}</div>'
    )


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table of (class, cells); ``head`` is text, cells are HTML, ``<td>`` included or not."""
    titles = "".join(f"<th>{escaped(title)}</th>" for title in head)
    lines = []
    for style, cells in rows:
        made = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr class="{style}">{made}</tr>' if style else f"<tr>{made}</tr>")
    inside = f"<thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{inside}</table></div>'


def figures_table(runs: Sequence[RunSummary], k: int) -> str:
    """Every metric of every run, and its difference to the default search."""
    head = ["", *(f"{TITLES[metric]}@{k}" for metric in METRICS), f"nDCG less {FUSED}", "p50", "p95"]
    rows = []
    for run in runs:
        cells = [escaped(run.name)]
        cells += [
            f"{unsigned(run.metrics[m].mean)} <small>{interval(run.metrics[m])}</small>" for m in METRICS
        ]
        apart = run.against.get("ndcg")
        cells.append(
            f"{signed(apart.estimate.mean)} <small>{interval(apart.estimate, signed)}</small>"
            if apart
            else ""
        )
        cells += [f"{run.p50:.1f} ms", f"{run.p95:.1f} ms"]
        rows.append(("main" if run.name == FUSED else "", cells))
    return table(head, rows)


def category_table(runs: Sequence[RunSummary], sizes: Mapping[str, int]) -> str:
    """Each run's nDCG by category, the darker the higher."""
    head = ["", "queries", *(run.name for run in runs)]
    rows = []
    for name, size in sizes.items():
        cells = [escaped(name or "none"), f"{size:,}"]
        for run in runs:
            value = run.categories[name]["ndcg"]
            cells.append(f'<td class="heat" style="--share:{value:.3f}">{unsigned(value)}</td>')
        rows.append(("", cells))
    return table(head, rows)


def changes_table(changes: Iterable[Change], names: tuple[str, str]) -> str:
    """The queries that changed most, with both values."""
    rows = []
    for change in changes:
        apart = change.after - change.before
        style = "up" if apart > 0 else "down"
        rows.append(
            (
                "",
                (
                    f'<td class="text">{escaped(change.query.text)}</td>',
                    unsigned(change.before),
                    unsigned(change.after),
                    f'<td class="{style}">{signed(apart)}</td>',
                ),
            )
        )
    return table(["query", *names, "change"], rows)


def problem_list(problems: Iterable[Problem]) -> str:
    """Problems, each with examples."""
    lines = []
    for one in problems:
        cases = ", ".join(f"<code>{escaped(example)}</code>" for example in one.examples)
        lines.append(f"<li>{escaped(one.text)}{f'; such as {cases}' if cases else ''}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def about(evaluation: Evaluation) -> str:
    """What was searched: size, chunk budget, models."""
    rows = [("", [escaped(model), escaped(run)]) for model, run in evaluation.models.items()]
    size = (
        f"{evaluation.place}: {evaluation.files:,} files, {evaluation.chunks:,} chunks of up to "
        f"{evaluation.chunk_tokens} tokens"
    )
    return f'<p class="hint place">{escaped(size)}</p>' + table(["model", "computed by"], rows)
