"""Metrics against ir-measures and by hand; intervals against the plain bootstrap."""

from __future__ import annotations

import math
import random

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, nDCG

from vecloom.evaluate import bootstrap
from vecloom.evaluate.bootstrap import difference, estimates
from vecloom.evaluate.judged import JudgedQuery, Target
from vecloom.evaluate.metrics import Place, collapsed, holds, ndcg, ranks_of, scored


def document(name: str) -> Place:
    return Place("source", name, 1, 100)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_documents_as_ir_measures_counts_them(k: int) -> None:
    draw = random.Random(k)
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    ours: dict[str, dict[str, float]] = {}
    for number in range(200):
        documents = [f"d{i}" for i in range(draw.randint(1, 40))]
        judged = {
            name: draw.choice([0, 1, 1, 2, 3])
            for name in draw.sample(documents, draw.randint(1, len(documents)))
        }
        judged["never found"] = 1
        ranking = draw.sample(documents, draw.randint(0, len(documents)))
        name = f"q{number}"
        qrels[name] = judged
        run[name] = {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
        targets = tuple(Target(path, gain=gain) for path, gain in judged.items() if gain)
        # Chunks of files that were listed already change nothing.
        hits = [place for path in ranking for place in [document(path)] * draw.randint(1, 2)]
        ours[name] = dict(scored(JudgedQuery(name, "text", "", targets), hits, k))
    measures = {"ndcg": nDCG @ k, "recall": R @ k, "mrr": RR @ k}
    theirs = {
        (m.query_id, str(m.measure)): m.value for m in ir_measures.iter_calc(measures.values(), qrels, run)
    }
    for name, values in ours.items():
        for metric, measure in measures.items():
            assert values[metric] == pytest.approx(theirs[name, str(measure)], abs=1e-9), (name, metric)


def test_lines_by_hand() -> None:
    query = JudgedQuery(
        "1", "text", "", (Target("a", 10, 20), Target("a", 18, 30, gain=3.0), Target("b"), Target("c", 1, 1))
    )
    hits = [
        Place("s", "a", 1, 9),  # the file, and not the lines
        Place(
            "s", "a", 20, 25
        ),  # the last line of one target, and within the other: one rank, the larger gain
        Place("s", "c", 2, 5),  # just behind
        Place("s", "b", 7, 9),
    ]
    assert ranks_of(query.targets, hits, 10) == [2, 2, 4, None]
    values = scored(query, hits, 10)
    dcg = 3 / math.log2(3) + 1 / math.log2(5)
    ideal = 3 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)
    assert values["ndcg"] == pytest.approx(dcg / ideal)
    assert values["recall"] == 3 / 4
    assert values["mrr"] == 1 / 2
    assert scored(query, hits, 1) == {"ndcg": 0.0, "recall": 0.0, "mrr": 0.0}


@pytest.mark.parametrize(
    ("start", "end", "wanted"), [(1, 4, False), (1, 5, True), (9, 12, True), (10, 12, False)]
)
def test_lines_overlap_where_they_share_one(start: int, end: int, wanted: bool) -> None:
    assert holds(Place("s", "a", 5, 9), Target("a", start, end)) is wanted


def test_the_ideal_is_of_the_k_best_gains() -> None:
    assert ndcg([1.0, 2.0, 3.0], [None, None, 1], 1) == 1.0
    assert ndcg([1.0, 2.0, 3.0], [1, None, None], 1) == pytest.approx(1 / 3)
    assert ndcg([1.0] * 20, list(range(1, 11)) + [None] * 10, 10) == pytest.approx(1.0)


def test_chunks_count_as_listed_for_lines_and_once_a_file_for_files() -> None:
    hits = [Place("s", "a", 1, 9), Place("s", "a", 10, 19), Place("t", "a", 1, 9), Place("s", "b", 1, 9)]
    assert collapsed(hits) == [hits[0], hits[2], hits[3]]
    whole = JudgedQuery("1", "text", "", (Target("b"),))
    lines = JudgedQuery("2", "text", "", (Target("b", 1, 1),))
    assert scored(whole, hits, 10)["mrr"] == 1 / 3
    assert scored(lines, hits, 10)["mrr"] == 1 / 4


def test_a_source_narrows_a_path() -> None:
    hits = [Place("s", "a", 1, 9), Place("t", "a", 1, 9)]
    assert ranks_of([Target("a"), Target("a", source="t"), Target("a", source="u")], hits, 10) == [1, 2, None]


def test_intervals_are_those_of_the_plain_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).random((60, 2))
    found = estimates(scores)
    monkeypatch.setattr(bootstrap, "_DRAWS", 60 * 7)  # in blocks of 7 resamples, of the same draws
    for one, other in zip(estimates(scores), found, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))
    draw = np.random.default_rng(bootstrap.SEED)
    rows = draw.integers(0, 60, (bootstrap.RESAMPLES, 60))
    for column, one in enumerate(found):
        low, high = np.percentile(scores[rows, column].mean(axis=1), [2.5, 97.5])
        assert (one.mean, one.low, one.high) == pytest.approx((scores[:, column].mean(), low, high))


def test_intervals_of_a_coin_are_as_wide_as_they_should_be() -> None:
    coin = np.repeat([0.0, 1.0], 200)[:, None]
    (one,) = estimates(coin)
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(400), rel=0.05)


def test_differences_are_paired() -> None:
    draw = np.random.default_rng(3)
    theirs = draw.random(100)
    ours = theirs + np.repeat([0.02, 1e-13, -0.01, -1e-13], 25)
    (one,) = estimates((ours - theirs)[:, None])
    found = difference(ours, theirs, one)
    assert (found.wins, found.losses, found.ties) == (25, 25, 50)
    assert one.mean == pytest.approx(0.0025)
    assert 0 < one.low < one.mean < one.high < 0.01, "far narrower than the spread of either"


def test_no_queries_and_one_query() -> None:
    assert [one.mean for one in estimates(np.empty((0, 2)))] == [0.0, 0.0]
    (one,) = estimates(np.array([[0.4]]))
    assert (one.low, one.high) == pytest.approx((0.4, 0.4))
