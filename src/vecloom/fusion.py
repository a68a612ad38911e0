"""Ranked lists to one: pure functions over what the legs found, the same on every store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from vecloom.types import Scored, VectorKind

FusionName: TypeAlias = Literal["rrf", "dbsf", "weighted"]

#: The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
RRF_K = 60


def rrf(legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float]) -> dict[str, float]:
    """Reciprocal rank fusion: the sum over legs of ``w / (60 + rank)``, ranks from 1.

    The weight multiplies the share. (Qdrant's own RRF divides the rank by it and counts from k = 2, where
    weights hardly move anything once k is 60.)
    """
    scores: dict[str, float] = {}
    for name, hits in legs.items():
        for rank, hit in enumerate(hits, 1):
            scores[hit.id] = scores.get(hit.id, 0.0) + weights[name] / (RRF_K + rank)
    return scores


def weighted(
    legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float], kinds: Mapping[str, VectorKind]
) -> dict[str, float]:
    """The sum over legs of ``w * score / best score of the leg``.

    A point that a leg did not find gets 0 from a sparse leg and the list's lowest share from a dense one:
    a sparse leg that is silent says "no term in common", a dense one only "not among the nearest". A leg
    whose best score is not above zero found nothing similar and adds nothing.
    """
    scores = dict.fromkeys((hit.id for hits in legs.values() for hit in hits), 0.0)
    for name, hits in legs.items():
        if not hits or hits[0].score <= 0:
            continue
        shares = {hit.id: weights[name] * hit.score / hits[0].score for hit in hits}
        absent = 0.0 if kinds[name] == "sparse" else min(shares.values())
        for point in scores:
            scores[point] += shares.get(point, absent)
    return scores


def dbsf(legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float]) -> dict[str, float]:
    """Distribution-based score fusion, as Qdrant defines it, with weights.

    Each leg's scores are placed between mean - 3 and mean + 3 sample standard deviations (0 to 1) and summed;
    a leg of one hit, or of equal scores, gives 0.5.
    """
    scores: dict[str, float] = {}
    for name, hits in legs.items():
        n = len(hits)
        mean = math.fsum(hit.score for hit in hits) / max(n, 1)
        variance = math.fsum((hit.score - mean) ** 2 for hit in hits) / max(n - 1, 1)
        spread = 6 * math.sqrt(variance)
        for hit in hits:
            share = 0.5 + (hit.score - mean) / spread if spread > 0 else 0.5
            scores[hit.id] = scores.get(hit.id, 0.0) + weights[name] * share
    return scores


def fuse(
    legs: Mapping[str, Sequence[Scored]],
    fusion: FusionName,
    weights: Mapping[str, float],
    kinds: Mapping[str, VectorKind],
) -> list[tuple[str, float]]:
    """Points of all legs as (id, fused score), best first, ties by id."""
    match fusion:
        case "rrf":
            scores = rrf(legs, weights)
        case "weighted":
            scores = weighted(legs, weights, kinds)
        case "dbsf":
            scores = dbsf(legs, weights)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def spread_over_files(
    ranked: Iterable[tuple[str, float]], file_of: Callable[[str], object], per_file: int
) -> list[tuple[str, float]]:
    """At most ``per_file`` points of a file first; what exceeds it follows, in order, once files run out."""
    taken: dict[object, int] = {}
    first: list[tuple[str, float]] = []
    rest: list[tuple[str, float]] = []
    for item in ranked:
        file = file_of(item[0])
        taken[file] = taken.get(file, 0) + 1
        (first if taken[file] <= per_file else rest).append(item)
    return first + rest
