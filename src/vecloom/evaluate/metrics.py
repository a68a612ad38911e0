"""Metrics of one ranked list, pure functions.

A target is found at the rank of the first hit, among the top k, that lies in its path and, where the target
has lines, overlaps them. Checked against ``ir-measures`` where targets are documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vecloom.evaluate.judged import JudgedQuery, Target
from vecloom.types import Hit

#: The metrics, in the order in which they are told.
METRICS = ("ndcg", "recall", "mrr")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hit lies; lines are 1-based and inclusive."""

    source: str
    path: str
    start: int
    end: int

    @classmethod
    def of(cls, hit: Hit) -> Place:
        """The place of a search's hit."""
        return cls(hit.source, hit.path, hit.start_line, hit.end_line)


def holds(place: Place, target: Target) -> bool:
    """Whether a hit at ``place`` shows the target, or a part of it."""
    if place.path != target.path or target.source not in (None, place.source):
        return False
    if target.start is None or target.end is None:
        return True
    return place.start <= target.end and target.start <= place.end


def collapsed(places: Iterable[Place]) -> list[Place]:
    """The first hit of each file: the ranking of files that a ranking of chunks means."""
    first: dict[tuple[str, str], Place] = {}
    for place in places:
        first.setdefault((place.source, place.path), place)
    return list(first.values())


def ranks_of(targets: Sequence[Target], places: Sequence[Place], k: int) -> list[int | None]:
    """For each target the rank (from 1) of the first hit of the top k that shows it, or None."""
    return [
        next((rank for rank, place in enumerate(places[:k], 1) if holds(place, target)), None)
        for target in targets
    ]


def ndcg(gains: Sequence[float], ranks: Sequence[int | None], k: int) -> float:
    """Normalised discounted cumulative gain of the top k, 0 to 1.

    DCG is the sum of ``gain / log2(rank + 1)``, as trec_eval has it; targets that share a rank (one hit that
    shows them all) count once, with the largest gain. It is divided by the DCG of the best min(k, n) gains in
    descending order.
    """
    at: dict[int, float] = {}
    for gain, rank in zip(gains, ranks, strict=True):
        if rank is not None:
            at[rank] = max(at.get(rank, 0.0), gain)
    found = math.fsum(gain / math.log2(rank + 1) for rank, gain in at.items())
    best = sorted(gains, reverse=True)[:k]
    ideal = math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(best, 1))
    return found / ideal if ideal else 0.0


def recall(ranks: Sequence[int | None]) -> float:
    """The share of the targets that were found, 0 to 1."""
    return sum(rank is not None for rank in ranks) / len(ranks) if ranks else 0.0


def mrr(ranks: Sequence[int | None]) -> float:
    """One over the rank of the first target that was found; 0 where none was."""
    return max((1 / rank for rank in ranks if rank is not None), default=0.0)


def scored(query: JudgedQuery, hits: Iterable[Place], k: int) -> Mapping[str, float]:
    """The metrics of a query's hits, best first, by the names of `METRICS`.

    Where all targets are whole files the hits are collapsed to files first; else chunks count as listed.
    """
    places = list(hits) if query.by_lines else collapsed(hits)
    ranks = ranks_of(query.targets, places, k)
    gains = [target.gain for target in query.targets]
    return {"ndcg": ndcg(gains, ranks, k), "recall": recall(ranks), "mrr": mrr(ranks)}
