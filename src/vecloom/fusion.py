"""Ranked lists to one: pure functions over what the legs found, the same on every store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from vecloom.types import Scored, VectorKind

FusionName: TypeAlias = Literal["auto", "rrf", "dbsf", "weighted"]

#: Point -> what each leg that says something of it adds to its score.
Shares: TypeAlias = Mapping[str, Mapping[str, float]]

#: The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
RRF_K = 60


def rrf(legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float]) -> Shares:
    """Reciprocal rank fusion: a leg adds ``w / (60 + rank)``, ranks from 1.

    The weight multiplies the share. (Qdrant's own RRF divides the rank by it and counts from k = 2, where
    weights hardly move anything once k is 60.)
    """
    shares: dict[str, dict[str, float]] = {}
    for name, hits in legs.items():
        for rank, hit in enumerate(hits, 1):
            shares.setdefault(hit.id, {})[name] = weights[name] / (RRF_K + rank)
    return shares


def weighted(
    legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float], kinds: Mapping[str, VectorKind]
) -> Shares:
    """A leg adds ``w * score / best score of the leg``.

    To a point that it did not find, a sparse leg adds 0 and a dense one the list's lowest share: a sparse leg
    that is silent says "no term in common", a dense one only "not among the nearest". A leg whose best score
    is not above zero found nothing similar and adds nothing.
    """
    shares: dict[str, dict[str, float]] = {hit.id: {} for hits in legs.values() for hit in hits}
    for name, hits in legs.items():
        if not hits or hits[0].score <= 0:
            continue
        own = {hit.id: weights[name] * hit.score / hits[0].score for hit in hits}
        absent = 0.0 if kinds[name] == "sparse" else min(own.values())
        for point, said in shares.items():
            said[name] = own.get(point, absent)
    return shares


def dbsf(legs: Mapping[str, Sequence[Scored]], weights: Mapping[str, float]) -> Shares:
    """Distribution-based score fusion, as Qdrant defines it, with weights.

    Each leg's scores are placed between mean - 3 and mean + 3 sample standard deviations (0 to 1); a leg of
    one hit, or of equal scores, gives 0.5.
    """
    shares: dict[str, dict[str, float]] = {}
    for name, hits in legs.items():
        n = len(hits)
        mean = math.fsum(hit.score for hit in hits) / max(n, 1)
        variance = math.fsum((hit.score - mean) ** 2 for hit in hits) / max(n - 1, 1)
        spread = 6 * math.sqrt(variance)
        for hit in hits:
            share = 0.5 + (hit.score - mean) / spread if spread > 0 else 0.5
            shares.setdefault(hit.id, {})[name] = weights[name] * share
    return shares


def fuse(
    legs: Mapping[str, Sequence[Scored]],
    fusion: FusionName,
    weights: Mapping[str, float],
    kinds: Mapping[str, VectorKind],
) -> Shares:
    """What each leg adds to each point. "auto" is "weighted" with weights of `vecloom.ranking`."""
    match fusion:
        case "rrf":
            return rrf(legs, weights)
        case "weighted" | "auto":
            return weighted(legs, weights, kinds)
        case "dbsf":
            return dbsf(legs, weights)


def totals(shares: Shares) -> dict[str, float]:
    """Point -> its score: the sum of its shares, in the order of the legs."""
    return {point: sum(said.values()) for point, said in shares.items()}


def ordered(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Points as (id, score), best first, ties by id."""
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
