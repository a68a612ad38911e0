"""An index, judged: each leg alone, each fusion, and the search that a user gets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from vecloom.errors import UsageError
from vecloom.evaluate.judged import Judged, Problem, problem
from vecloom.evaluate.matching import Holding
from vecloom.evaluate.metrics import METRICS, Place, scored
from vecloom.fusion import FusionName
from vecloom.index import Index
from vecloom.pipeline.report import Listener, Progress, quiet
from vecloom.search import MOST_HITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

RunKind: TypeAlias = Literal["leg", "fusion", "default"]

#: The default search's name among the runs.
FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Run:
    """One way to search, over all queries.

    ``scores`` float64 [queries, metrics] in the order of `METRICS`, 0 to 1; ``milliseconds`` float64
    [queries], what ``index.search`` took each time.
    """

    name: str
    kind: RunKind
    scores: NDArray[np.float64]
    milliseconds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What judged queries say about an index. The runs' rows are those of ``judged.queries``.

    ``k``: how many hits count. ``models``: key -> backend and precision. ``chunk_tokens``: the budget.
    """

    place: str
    k: int
    judged: Judged
    runs: tuple[Run, ...]
    problems: tuple[Problem, ...]
    models: Mapping[str, str]
    files: int
    chunks: int
    chunk_tokens: int

    @property
    def fused(self) -> Run:
        """The default search."""
        return next(run for run in self.runs if run.name == FUSED)

    @property
    def best_leg(self) -> Run | None:
        """The leg with the highest nDCG; None where there is but one."""
        legs = [run for run in self.runs if run.kind == "leg"]
        return max(legs, key=lambda run: float(run.scores[:, 0].mean())) if len(legs) > 1 else None


def evaluate(
    index: Index,
    judged: Judged,
    *,
    name: str = "",
    k: int = 10,
    task: str | None = None,
    default_only: bool = False,
    listener: Listener = quiet,
) -> Evaluation:
    """Ask every query in every way. The index is only read.

    ``name``: what the index is called where its folder says nothing. ``task``: whose prompt queries are
    given. ``default_only``: only the default search, not its legs and fusions.

    Raises:
        UsageError: ``k`` out of range, or a task that no model knows.
        JudgmentsError: the index holds none of the targets.
        StoreError, WeightsError: as for a search.
    """
    if not 1 <= k <= MOST_HITS:
        raise UsageError(f"metrics at {k} hits cannot be had; take 1 to {MOST_HITS}")
    files = index.files()
    holding = Holding(name or index.place, files)
    found = [*judged.problems, *holding.problems(judged)]
    ways = [way for way in ways_of(index) if way.name == FUSED or not default_only]
    done = [_run(index, judged, way, k, task, listener) for way in ways]
    status = index.status()
    made = Evaluation(
        place=name or index.place,
        k=k,
        judged=judged,
        runs=tuple(done),
        problems=(),
        models=dict(status.runs),
        files=len(files),
        chunks=status.points,
        chunk_tokens=status.chunk_tokens,
    )
    found += _lost(made, holding)
    found += problem(
        "incomplete_vectors", status.incomplete, "vectors that some chunks lack: {}; vecloom index goes on"
    )
    found += problem("unfinished_sources", status.unfinished, "sources that were not read to the end: {}")
    return replace(made, problems=tuple(found))


def sided_problems(evaluations: Sequence[Evaluation]) -> list[tuple[str, tuple[Problem, ...]]]:
    """The problems of one evaluation, or of two with words for the side; what both have is told once."""
    found = [one.problems for one in evaluations]
    if len(found) > 1 and found[0] != found[1]:
        return [(f", {side}", problems) for side, problems in zip("AB", found, strict=True) if problems]
    return [("", found[0])] if found[0] else []


@dataclass(frozen=True, slots=True)
class Way:
    """One way to search: arguments of `vecloom.Index.search`."""

    name: str
    kind: RunKind
    options: Mapping[str, Any]


def ways_of(index: Index) -> list[Way]:
    """Each leg, each plain fusion of all legs but multivectors, and the default search.

    Where there is one leg, fusions are left out: they are that leg.
    """
    fields = [spec.vector_field for spec in index.specs]
    quick = [field for field in fields if field.kind != "multivector"] or fields
    legs = [Way(field.name, "leg", {"using": (field.name,)}) for field in fields]
    fusions = (
        [Way(name, "fusion", {"fusion": name}) for name in get_args(FusionName) if name != "auto"]
        if len(quick) > 1
        else []
    )
    return [*legs, *fusions, Way(FUSED, "default", {})]


def _run(index: Index, judged: Judged, way: Way, k: int, task: str | None, listener: Listener) -> Run:
    queries = judged.queries
    index.search(queries[0].text, k, task=task, **way.options)  # loads the models: no query pays for that
    scores = np.empty((len(queries), len(METRICS)))
    milliseconds = np.empty(len(queries))
    for number, query in enumerate(queries):
        begun = time.perf_counter()
        hits = index.search(query.text, k, task=task, **way.options)
        milliseconds[number] = 1000 * (time.perf_counter() - begun)
        values = scored(query, map(Place.of, hits), k)
        scores[number] = [values[metric] for metric in METRICS]
        listener(Progress("search", number + 1, len(queries), "queries", way.name))
    return Run(way.name, way.kind, scores, milliseconds)


def _lost(made: Evaluation, holding: Holding) -> Sequence[Problem]:
    """The queries that cannot be answered, and what the mean is without them."""
    queries = made.judged.queries
    lost = np.array([not holding.holds_any(query) for query in queries])
    if not lost.any():
        return ()
    rest = float(made.fused.scores[~lost, 0].mean())
    return problem(
        "queries_without_held_targets",
        [queries[row].text for row in np.flatnonzero(lost)],
        f"queries none of whose targets the index holds: {{}}; they count as 0, without them nDCG@{made.k} "
        f"of {FUSED} is {rest:.3f}",
    )
