"""Fusion against hand-computed values and Qdrant's own functions."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.hybrid.fusion import distribution_based_score_fusion

from vecloom.fusion import FusionName, dbsf, fuse, ordered, rrf, spread_over_files, totals, weighted
from vecloom.types import Scored, VectorKind


def ranked(**scores: float) -> list[Scored]:
    return [Scored(point, score, {}) for point, score in sorted(scores.items(), key=lambda item: -item[1])]


def test_rrf_sums_weight_over_sixty_plus_rank() -> None:
    legs = {"dense": ranked(a=0.9, b=0.5), "bm25": ranked(b=7.0, c=1.0)}
    scores = totals(rrf(legs, {"dense": 1.0, "bm25": 2.0}))
    assert scores == {"a": 1 / 61, "b": 1 / 62 + 2 / 61, "c": 2 / 62}


def test_weighted_gives_the_absent_nothing_from_sparse_and_the_lowest_share_from_dense() -> None:
    legs = {"dense": ranked(a=0.8, b=0.4), "bm25": ranked(b=10.0, c=5.0)}
    scores = totals(weighted(legs, {"dense": 1.0, "bm25": 0.5}, {"dense": "dense", "bm25": "sparse"}))
    assert scores == pytest.approx({"a": 1.0, "b": 0.5 + 0.5, "c": 0.5 + 0.25})


def test_weighted_ignores_a_leg_whose_best_score_is_not_positive() -> None:
    legs = {"dense": ranked(a=-0.1, b=-0.4), "bm25": ranked(b=2.0)}
    scores = totals(weighted(legs, {"dense": 1.0, "bm25": 1.0}, {"dense": "dense", "bm25": "sparse"}))
    assert scores == {"a": 0.0, "b": 1.0}


@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=20), min_size=1, max_size=3))
def test_dbsf_is_qdrants(score_lists: list[list[int]]) -> None:
    legs = {
        f"leg{n}": [Scored(str(i), float(score), {}) for i, score in enumerate(scores)]
        for n, scores in enumerate(score_lists)
    }
    theirs = distribution_based_score_fusion(
        [
            [models.ScoredPoint(id=i, version=0, score=float(score)) for i, score in enumerate(scores)]
            for scores in score_lists
        ],
        limit=100,
    )
    ours = totals(dbsf(legs, dict.fromkeys(legs, 1.0)))
    assert ours == pytest.approx({str(point.id): point.score for point in theirs})


@pytest.mark.parametrize("fusion", get_args(FusionName))
def test_ties_are_broken_by_id(fusion: FusionName) -> None:
    legs = {"one": ranked(b=1.0), "two": ranked(a=1.0)}
    kinds: dict[str, VectorKind] = {"one": "sparse", "two": "sparse"}
    scores = totals(fuse(legs, fusion, {"one": 1, "two": 1}, kinds))
    assert [point for point, _ in ordered(scores)] == ["a", "b"]


def test_files_share_the_front_places() -> None:
    items = [("a1", 5.0), ("a2", 4.0), ("b1", 3.0), ("a3", 2.0)]
    assert [p for p, _ in spread_over_files(items, lambda p: p[0], 1)] == ["a1", "b1", "a2", "a3"]
    assert [p for p, _ in spread_over_files(items, lambda p: p[0], 2)] == ["a1", "a2", "b1", "a3"]
