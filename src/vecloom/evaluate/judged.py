"""Judged queries: what is asked, and where the answers are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

#: Queries are drawn alike on every run and machine.
SEED = 20

#: The largest gain of a target: sums of gains stay finite.
MOST_GAIN = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where an answer is: a file of the index, or lines of it (1-based, both inclusive).

    ``gain`` is above 0, the larger the better the answer. ``source`` narrows the path to one source.
    """

    path: str
    start: int | None = None
    end: int | None = None
    gain: float = 1.0
    source: str | None = None

    def __str__(self) -> str:
        lines = "" if self.start is None else f":{self.start}-{self.end}"
        return f"{self.source}/{self.path}{lines}" if self.source else f"{self.path}{lines}"


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A question with its answers; ``category`` groups questions of a kind ("" where there is none)."""

    id: str
    text: str
    category: str
    targets: tuple[Target, ...]

    @property
    def by_lines(self) -> bool:
        """Whether a target is less than a whole file, so that it matters which chunk of a file is found."""
        return any(target.start is not None for target in self.targets)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about the judgments or the index that a mean would hide.

    ``key`` is its name in JSON, ``text`` a line for a person with the count in it, ``examples`` a few cases.
    """

    key: str
    count: int
    text: str
    examples: tuple[str, ...] = ()


#: So many examples of a problem are told.
EXAMPLES = 3


def problem(key: str, cases: Sequence[str], text: str) -> list[Problem]:
    """The problem that there are such cases, or nothing where there are none; ``{}`` is how many."""
    if not cases:
        return []
    return [Problem(key, len(cases), text.format(f"{len(cases):,}"), tuple(cases[:EXAMPLES]))]


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries that are ready to be asked: each has a text and a target, and each counts once.

    ``name`` is where they come from; ``notes`` say what the figures mean and what they do not.
    """

    name: str
    queries: tuple[JudgedQuery, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    empty: list[str] = field(default_factory=list)
    aimless: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)


def prepared(name: str, queries: Sequence[JudgedQuery], problems: Sequence[Problem] = ()) -> Judged:
    """The queries that can be asked, and in words what was wrong with the others.

    Left out: queries without a text, or without a target whose gain is above 0. A text that comes again with
    equal targets is asked once; one that comes with other targets stays a query of its own, as published
    figures count it. A target that a query has twice counts once, with its largest gain.
    """
    found = _Found()
    kept: list[JudgedQuery] = []
    seen: dict[str, list[frozenset[Target]]] = {}
    for query in queries:
        if not query.text.strip():
            found.empty.append(query.id)
            continue
        targets = _once([target for target in query.targets if target.gain > 0])
        if not targets:
            found.aimless.append(query.text)
            continue
        if len(targets) < sum(target.gain > 0 for target in query.targets):
            found.targets.append(query.text)
        known = seen.setdefault(query.text.strip(), [])
        if frozenset(targets) in known:
            found.again.append(query.text)
            continue
        if known:
            found.otherwise.append(query.text)
        known.append(frozenset(targets))
        kept.append(replace(query, targets=targets))
    said = [
        *problems,
        *problem("empty_queries", found.empty, "queries without a text, left out: {}"),
        *problem("queries_without_targets", found.aimless, "queries without a target, left out: {}"),
        *problem(
            "repeated_queries", found.again, "queries that come again with equal targets, counted once: {}"
        ),
        *problem(
            "queries_judged_otherwise",
            found.otherwise,
            "queries whose text comes again with other targets, each counted: {}",
        ),
        *problem("repeated_targets", found.targets, "queries that name a target twice, counted once: {}"),
    ]
    return Judged(name, tuple(kept), tuple(said))


def _once(targets: Sequence[Target]) -> tuple[Target, ...]:
    best: dict[Target, Target] = {}
    for target in targets:
        place = replace(target, gain=1.0)
        if place not in best or best[place].gain < target.gain:
            best[place] = target
    return tuple(best.values())


def drawn(judged: Judged, most: int | None) -> Judged:
    """At most so many of the queries, drawn alike each time, in their order; a note says so."""
    if most is None or most >= len(judged.queries):
        return judged
    chosen = sorted(random.Random(SEED).sample(range(len(judged.queries)), most))
    note = f"{most:,} of {len(judged.queries):,} queries, drawn by a fixed seed"
    return replace(judged, queries=tuple(judged.queries[i] for i in chosen), notes=(*judged.notes, note))
