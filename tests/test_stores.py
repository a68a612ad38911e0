"""One conformance suite for every store, and what only the embedded engine has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from qdrant_standin import Standin
from vecloom.errors import InvalidVectorError, StoreBusyError, StoreError, StoreFullError
from vecloom.stores import INDEXED_KEYS, Store
from vecloom.stores.client import ClientStore
from vecloom.stores.edge import EdgeStore
from vecloom.stores.validate import checked_leg, checked_points, checked_vectors
from vecloom.types import Filter, Leg, Points, Record, Schema, SparseRows, VectorField

SCHEMA = Schema(
    (
        VectorField("dense", "dense", 4),
        VectorField("words", "sparse", modifier="idf"),
        VectorField("plain", "sparse"),
        VectorField("many", "multivector", 3),
    )
)
SOURCE = str(Path(__file__).parent.parent / "src")


def point_id(i: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, str(i)))


def sparse(*rows: dict[int, float]) -> SparseRows:
    indptr = np.cumsum([0, *map(len, rows)])
    indices = [i for row in rows for i in sorted(row)]
    values = [row[i] for row in rows for i in sorted(row)]
    return SparseRows(indptr, np.array(indices, np.uint32), np.array(values, np.float32))


def dense(count: int, dim: int = 4, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def payload(i: int) -> dict[str, Any]:
    return {
        "source": "tree",
        "path": f"p/{i // 3}.py",
        "kind": "code" if i % 2 else "prose",
        "language": "python",
        "chunk_hash": f"{i:04x}",
        "text": f"text {i} naïve 漢字",
        "start_line": i,
    }


def some_points(count: int, first: int = 0) -> Points:
    numbers = range(first, first + count)
    return Points(
        [point_id(i) for i in numbers],
        [payload(i) for i in numbers],
        {
            "dense": dense(first + count)[first:],
            "words": sparse(*({1: 1.0, i + 10: 2.0} for i in numbers)),
            "plain": sparse(*({i % 5: 1.0 + i} for i in numbers)),
        },
    )


def ids_of(records: Sequence[Record] | Iterator[Record]) -> list[str]:
    return [record.id for record in records]


def _kinds() -> list[str]:
    return ["edge", "memory", "standin", *(["server"] if os.environ.get("QDRANT_URL") else [])]


@pytest.fixture(params=_kinds())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "edge":
        edge = EdgeStore.create(tmp_path / "shard", SCHEMA)
        yield edge
        edge.close()
        return
    client = _client(request)
    name = f"vecloom-test-{uuid.uuid4().hex}"
    try:
        yield ClientStore.create(client, name, SCHEMA)
    finally:
        client.delete_collection(name)
        client.close()


def _client(request: pytest.FixtureRequest) -> QdrantClient:
    if request.param == "memory":
        return QdrantClient(":memory:")
    if request.param == "standin":
        standin: Standin = request.getfixturevalue("standin")
        return standin.client()
    # As a header, a key brings no warning of plain http.
    headers = {"api-key": os.environ["QDRANT_API_KEY"]} if os.environ.get("QDRANT_API_KEY") else {}
    return QdrantClient(url=os.environ["QDRANT_URL"], headers=headers, timeout=60, check_compatibility=False)


def test_points_come_back_as_they_went(store: Store) -> None:
    points = some_points(5)
    store.upsert(points)
    records = store.get([*points.ids[::-1], point_id(99)], vectors=("dense", "words", "plain"))
    assert ids_of(records) == list(points.ids[::-1])
    for i, record in zip(range(4, -1, -1), records, strict=True):
        assert record.payload == payload(i)
        row = np.asarray(points.vectors["dense"])[i]
        np.testing.assert_allclose(record.vectors["dense"], row / np.linalg.norm(row), rtol=1e-5)
        for name in ("words", "plain"):
            column = points.vectors[name]
            assert isinstance(column, SparseRows)
            indices, values = record.vectors[name]
            assert indices.dtype == np.uint32 and values.dtype == np.float32
            np.testing.assert_array_equal(indices, column.row(i)[0])
            np.testing.assert_array_equal(values, column.row(i)[1])


def test_get_gives_only_what_is_asked(store: Store) -> None:
    store.upsert(some_points(2))
    [record] = store.get([point_id(1)], fields=("path", "absent"))
    assert record.payload == {"path": "p/0.py"} and record.vectors == {}
    [record] = store.get([point_id(1)], fields=(), vectors=("plain",))
    assert record.payload == {} and set(record.vectors) == {"plain"}
    assert store.get([]) == []


def test_upsert_replaces_a_point_with_all_its_vectors(store: Store) -> None:
    store.upsert(some_points(2))
    store.upsert(Points([point_id(0)], [{"path": "new"}], {"plain": sparse({3: 1.0})}))
    [record] = store.get([point_id(0)], vectors=("dense", "words", "plain"))
    assert record.payload == {"path": "new"} and set(record.vectors) == {"plain"}
    assert store.count() == 2


def test_update_vectors_leaves_the_rest(store: Store) -> None:
    store.upsert(
        Points(some_points(3).ids, some_points(3).payloads, {"words": sparse({1: 1}, {2: 1}, {3: 1})})
    )
    assert store.count(Filter(lacks=("dense",))) == 3
    store.update_vectors([point_id(2), point_id(0)], {"dense": np.eye(4, dtype=np.float32)[:2]})
    assert ids_of(store.scroll(Filter(lacks=("dense",)))) == [point_id(1)]
    assert store.count(Filter(has=("dense", "words"))) == 2
    [record] = store.get([point_id(0)], vectors=("dense", "words"))
    assert record.vectors["dense"].tolist() == [0, 1, 0, 0]
    assert record.vectors["words"][0].tolist() == [1] and record.payload == payload(0)


def test_an_update_of_a_missing_point_changes_nothing(store: Store) -> None:
    store.upsert(some_points(2))
    before = store.get([point_id(0)], vectors=("dense",))[0].vectors["dense"]
    gone = point_id(77)
    with pytest.raises(StoreError, match=gone):
        store.update_vectors([point_id(0), gone], {"dense": np.eye(4, dtype=np.float32)[:2]})
    with pytest.raises(StoreError, match=gone):
        store.update_payloads([point_id(0), gone], [{"path": "x"}, {"path": "y"}])
    [record] = store.get([point_id(0)], vectors=("dense",))
    np.testing.assert_array_equal(record.vectors["dense"], before)
    assert record.payload == payload(0)


def test_update_payloads_merges(store: Store) -> None:
    store.upsert(some_points(3))
    store.update_payloads([point_id(1), point_id(2)], [{"start_line": 50}, {"path": "q", "language": None}])
    assert store.get([point_id(1)])[0].payload == payload(1) | {"start_line": 50}
    [record] = store.get([point_id(2)], vectors=("dense",))
    assert record.payload["path"] == "q" and "dense" in record.vectors
    assert record.payload.get("language") is None
    assert store.count(Filter(match={"path": ("q",)})) == 1


def test_payload_values_of_every_json_kind(store: Store) -> None:
    said = {
        "text": "a\n\0ü😀",
        "yes": True,
        "n": -(2**53) - 1,
        "x": 0.25,
        "none": None,
        "deep": [1, {"a": ["b"]}],
    }
    store.upsert(Points([point_id(0)], [said], {}))
    assert store.get([point_id(0)])[0].payload == said


def test_delete_by_ids_and_by_filter(store: Store) -> None:
    store.upsert(some_points(9))
    store.delete(ids=[point_id(0), point_id(99)])
    assert store.count() == 8
    store.delete(where=Filter(match={"path": ("p/1.py", "p/9.py"), "kind": ("code",)}))
    left = {i for i in range(9) if store.get([point_id(i)])}
    assert left == {1, 2, 4, 6, 7, 8}
    store.delete(ids=[])
    assert store.count() == 6
    store.delete(where=Filter())
    assert store.count() == 0
    with pytest.raises(StoreError, match="exactly one"):
        store.delete()


def test_filters_are_conjunctions(store: Store) -> None:
    store.upsert(some_points(12))
    assert store.count(Filter()) == store.count() == 12
    assert store.count(Filter(match={"path": ("p/0.py", "p/2.py"), "kind": ("code",)})) == 2
    assert store.count(Filter(match={"path": ()})) == 0
    assert store.count(Filter(match={"language": ("go",)})) == 0
    assert store.count(Filter(has=("dense",), lacks=("words",))) == 0
    assert store.count(Filter(lacks=("many",))) == 12


def test_scroll_pages_in_the_order_of_ids(store: Store) -> None:
    points = some_points(2500)
    store.upsert(points)
    wanted = sorted(points.ids)
    assert ids_of(store.scroll(fields=())) == wanted
    assert ids_of(store.scroll(after=wanted[998], fields=())) == wanted[999:]
    assert ids_of(store.scroll(after=wanted[998], limit=1001, fields=())) == wanted[999:2000]
    assert ids_of(store.scroll(limit=1000, fields=())) == wanted[:1000]
    assert ids_of(store.scroll(limit=0)) == ids_of(store.scroll(after=wanted[-1])) == []
    nowhere = str(uuid.UUID(int=uuid.UUID(wanted[4]).int + 1))
    assert ids_of(store.scroll(after=nowhere, limit=3, fields=())) == wanted[5:8]
    one_file = Filter(match={"path": ("p/7.py",)})
    assert ids_of(store.scroll(one_file)) == sorted(point_id(i) for i in (21, 22, 23))


def test_points_are_marked_by_a_filter_and_left_out_by_it(store: Store) -> None:
    store.upsert(some_points(12))
    before = {one.id: one.payload for one in store.scroll()}
    chosen = Filter(match={"path": ("p/0.py", "p/2.py")})
    for _ in range(2):
        store.index_key("absent")
        store.mark(chosen, "absent", "yes")
    shown = Filter(unless={"absent": ("yes",)})
    assert store.count(shown) == 6 and store.count(Filter(match={"absent": ("yes",)})) == 6
    assert store.facet("path", shown) == {"p/1.py": 3, "p/3.py": 3}
    (hits,) = store.search([Leg("dense", dense(1)[0])], shown, 12, ("path",))
    assert {hit.payload["path"] for hit in hits} == {"p/1.py", "p/3.py"} and len(hits) == 6
    assert store.count(Filter(match={"path": ("p/0.py",)}, unless={"absent": ("yes",)})) == 0
    store.mark(Filter(match={"path": ("p/2.py",)}), "absent", None)
    assert store.count(shown) == 9
    store.mark(chosen, "absent", None)
    store.mark(Filter(match={"path": ("nowhere",)}), "absent", None)
    assert {one.id: one.payload for one in store.scroll()} == before


def test_facet_counts_values(store: Store) -> None:
    store.upsert(some_points(12))
    assert store.facet("path") == {f"p/{i}.py": 3 for i in range(4)}
    assert store.facet("kind", Filter(match={"path": ("p/0.py",)})) == {"prose": 2, "code": 1}
    assert store.facet("source", Filter(match={"path": ("nowhere",)})) == {}
    store.delete(where=Filter(match={"path": ("p/0.py",)}))
    assert store.facet("path") == {f"p/{i}.py": 3 for i in range(1, 4)}


def test_search_ranks_every_leg(store: Store) -> None:
    points = some_points(40)
    store.upsert(points)
    query = dense(1, seed=5)[0]
    words = (np.array([1, 17], np.uint32), np.ones(2, np.float32))
    by_dense, by_words = store.search(
        [Leg("dense", query), Leg("words", words)], None, limit=10, fields=("path", "start_line")
    )
    matrix = np.asarray(points.vectors["dense"])
    scores = matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
    best = np.argsort(-scores)[:10]
    assert [hit.id for hit in by_dense] == [point_id(i) for i in best]
    np.testing.assert_allclose([hit.score for hit in by_dense], scores[best], atol=1e-5)
    assert by_dense[0].payload == {k: payload(int(best[0]))[k] for k in ("path", "start_line")}
    # idf as Qdrant defines it: ln((N - n + 0.5) / (n + 0.5) + 1); every point holds 1, one holds 17.
    everywhere, once = np.log(0.5 / 40.5 + 1), np.log(39.5 / 1.5 + 1)
    assert by_words[0].id == point_id(7)
    assert by_words[0].score == pytest.approx(everywhere + 2 * once, rel=1e-5)
    assert {round(hit.score, 6) for hit in by_words[1:]} == {round(everywhere, 6)}
    assert [hit.id for hit in by_words[1:]] == sorted(hit.id for hit in by_words[1:])


def test_equal_scores_are_ordered_by_id(store: Store) -> None:
    ids = [point_id(i) for i in range(30)]
    store.upsert(
        Points(ids, [{}] * 30, {"dense": np.tile(dense(1), (30, 1)), "plain": sparse(*[{1: 1.0}] * 30)})
    )
    legs = [Leg("dense", dense(1)[0]), Leg("plain", (np.array([1], np.uint32), np.ones(1, np.float32)))]
    for found in store.search(legs, None, limit=30, fields=()):
        assert [hit.id for hit in found] == sorted(ids)


def test_search_filters_before_it_limits(store: Store) -> None:
    store.upsert(some_points(60))
    where = Filter(match={"path": ("p/3.py",)})
    words = (np.array([1], np.uint32), np.ones(1, np.float32))
    for found in store.search([Leg("dense", dense(1)[0]), Leg("words", words)], where, 5, ("path",)):
        assert sorted(hit.id for hit in found) == sorted(point_id(i) for i in (9, 10, 11))
    assert store.search([], None, 5, ()) == []
    assert store.search([Leg("dense", dense(1)[0])], Filter(match={"path": ("no",)}), 5, ()) == [[]]


def test_points_without_a_leg_are_not_found_by_it(store: Store) -> None:
    points = some_points(4)
    store.upsert(Points(points.ids, points.payloads, {"plain": points.vectors["plain"]}))
    store.update_vectors([point_id(2)], {"dense": dense(1)})
    [found] = store.search([Leg("dense", dense(1)[0])], None, 10, ())
    assert [hit.id for hit in found] == [point_id(2)]


def test_an_empty_sparse_row_is_had_and_matches_nothing(store: Store) -> None:
    ids = [point_id(0), point_id(1)]
    store.upsert(Points(ids, [{}, {}], {"words": sparse({}, {4: 1.0})}))
    store.update_vectors(ids, {"plain": sparse({4: 1.0}, {})})
    assert store.count(Filter(has=("words", "plain"))) == 2
    assert store.count(Filter(lacks=("words",))) == store.count(Filter(lacks=("plain",))) == 0
    [record] = store.get([ids[0]], vectors=("words",))
    assert [len(part) for part in record.vectors["words"]] == [0, 0]
    [found] = store.search([Leg("words", (np.array([4], np.uint32), np.ones(1, np.float32)))], None, 5, ())
    assert [hit.id for hit in found] == [ids[1]]


def test_a_point_whose_only_vector_is_empty_has_it(store: Store) -> None:
    ids = [point_id(i) for i in range(3)]
    store.upsert(Points(ids, [payload(i) for i in range(3)], {}))
    store.update_vectors(ids[:2], {"words": sparse({}, {4: 1.0})})
    assert store.count(Filter(has=("words",))) == 2 and store.count(Filter(lacks=("words",))) == 1
    assert ids_of(store.scroll(Filter(lacks=("words",)))) == [ids[2]]
    store.update_vectors(ids[:2], {"words": sparse({}, {}), "plain": sparse({}, {})})
    assert store.count(Filter(has=("words", "plain"))) == 2 and store.count(Filter(lacks=("plain",))) == 1
    assert store.count(Filter(has=("dense",))) == 0
    records = store.get(ids, vectors=("words", "plain", "dense"))
    assert [set(record.vectors) for record in records] == [{"words", "plain"}, {"words", "plain"}, set()]
    assert all(len(part) == 0 for record in records for vector in record.vectors.values() for part in vector)
    assert [record.payload for record in records] == [payload(i) for i in range(3)]  # no key of the store's
    assert all(not {"empty_vectors"} & record.payload.keys() for record in store.scroll())
    assert store.get(ids[:1], ("path",), ("words",))[0].payload == {"path": "p/0.py"}


def test_an_empty_vector_gives_way_to_a_filled_one(store: Store) -> None:
    ids = [point_id(0), point_id(1)]
    store.upsert(Points(ids, [{}, {}], {"words": sparse({}, {4: 1.0}), "plain": sparse({}, {})}))
    store.update_vectors(ids, {"words": sparse({4: 2.0}, {})})
    [first, second] = store.get(ids, vectors=("words", "plain"))
    assert [part.tolist() for part in first.vectors["words"]] == [[4], [2.0]]
    assert [len(part) for part in second.vectors["words"]] == [0, 0]
    assert len(first.vectors["plain"][0]) == len(second.vectors["plain"][0]) == 0
    [found] = store.search([Leg("words", (np.array([4], np.uint32), np.ones(1, np.float32)))], None, 5, ())
    assert [hit.id for hit in found] == [ids[0]]
    assert store.count(Filter(has=("words", "plain"))) == 2
    store.upsert(Points(ids[:1], [{}], {"plain": sparse({1: 1.0})}))
    assert ids_of(store.scroll(Filter(lacks=("words",)))) == [
        ids[0]
    ]  # a rewritten point has what it is given


def test_payloads_change_without_empty_vectors(store: Store) -> None:
    store.upsert(Points([point_id(0)], [payload(0)], {"words": sparse({})}))
    store.update_payloads([point_id(0)], [{"path": "moved"}])
    assert store.get([point_id(0)])[0].payload == payload(0) | {"path": "moved"}
    assert store.count(Filter(has=("words",))) == 1


def test_an_empty_sparse_query_finds_nothing(store: Store) -> None:
    store.upsert(some_points(3))
    assert store.search([Leg("words", (np.array([], np.uint32), np.array([], np.float32)))], None, 5, ()) == [
        []
    ]


def test_a_vector_is_added_to_stored_points(store: Store) -> None:
    store.upsert(some_points(3))
    for field in (VectorField("late", "dense", 2), VectorField("late-words", "sparse", modifier="idf")):
        store.add_vector(field)
        store.add_vector(field)
        assert store.schema.field(field.name) == field
        assert store.count(Filter(lacks=(field.name,))) == 3
    store.update_vectors([point_id(1)], {"late": dense(1, 2), "late-words": sparse({7: 1.0})})
    assert store.count(Filter(has=("late", "late-words"))) == 1
    [by_late, by_words] = store.search(
        [Leg("late", dense(1, 2)[0]), Leg("late-words", (np.array([7], np.uint32), np.ones(1, np.float32)))],
        None,
        5,
        (),
    )
    assert [hit.id for hit in by_late] == [hit.id for hit in by_words] == [point_id(1)]
    with pytest.raises(StoreError, match="'late'"):
        store.add_vector(VectorField("late", "dense", 3))


def test_multivectors_score_by_their_best_rows(store: Store) -> None:
    eye = np.eye(3, dtype=np.float32)
    store.upsert(Points([point_id(0), point_id(1)], [{}, {}], {"many": [eye[:2], eye[2:]]}))
    [found] = store.search([Leg("many", eye[:2])], None, 5, ())
    assert [(hit.id, hit.score) for hit in found] == [(point_id(0), 2.0), (point_id(1), 0.0)]
    np.testing.assert_array_equal(store.get([point_id(0)], vectors=("many",))[0].vectors["many"], eye[:2])


def test_empty_writes_are_fine(store: Store) -> None:
    store.upsert(Points([], [], {}))
    store.upsert(Points([], [], {"dense": np.empty((0, 4), np.float32), "words": sparse()}))
    store.update_vectors([], {"dense": np.empty((0, 4), np.float32)})
    store.update_payloads([], [])
    assert store.count() == 0


def test_a_refused_write_leaves_nothing(store: Store) -> None:
    points = some_points(2)
    vectors = dict(points.vectors) | {"dense": np.array([[1, 0, 0, 0], [0, np.nan, 0, 0]], np.float32)}
    with pytest.raises(InvalidVectorError, match=f"'dense' of {point_id(1)}"):
        store.upsert(Points(points.ids, points.payloads, vectors))
    assert store.count() == 0


def test_a_closed_store_says_so(store: Store) -> None:
    scrolling = store.scroll()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count()
    with pytest.raises(StoreError, match="closed"):
        next(scrolling)
    with pytest.raises(StoreError, match="closed"):
        store.finalize()


BAD_COLUMNS: dict[str, tuple[str, Any]] = {
    "nan": ("dense", np.array([[1, 0, 0, np.nan]])),
    "infinite": ("dense", np.array([[1, 0, 0, -np.inf]])),
    "zero": ("dense", np.zeros((1, 4))),
    "overflowing norm": ("dense", np.full((1, 4), 3e38)),
    "dimension": ("dense", np.ones((1, 5))),
    "one row flat": ("dense", np.ones(4)),
    "rows": ("dense", np.ones((2, 4))),
    "unknown": ("nobody", np.ones((1, 4))),
    "sparse for dense": ("dense", sparse({1: 1.0})),
    "dense for sparse": ("words", np.ones((1, 4))),
    "sparse nan": ("words", sparse({1: float("nan")})),
    "sparse rows": ("words", sparse({1: 1.0}, {2: 1.0})),
    "unsorted": ("words", SparseRows(np.array([0, 2]), np.array([5, 4], np.uint32), np.ones(2, np.float32))),
    "duplicate": ("words", SparseRows(np.array([0, 2]), np.array([5, 5], np.uint32), np.ones(2, np.float32))),
    "negative": ("words", SparseRows(np.array([0, 1]), np.array([-1]), np.ones(1, np.float32))),
    "beyond uint32": ("words", SparseRows(np.array([0, 1]), np.array([2**32]), np.ones(1, np.float32))),
    "uneven": ("words", SparseRows(np.array([0, 2]), np.array([5], np.uint32), np.ones(2, np.float32))),
    "falling indptr": (
        "words",
        SparseRows(np.array([0, 2, 1]), np.array([5], np.uint32), np.ones(1, np.float32)),
    ),
    "no token": ("many", [np.empty((0, 3))]),
    "zero token": ("many", [np.array([[1, 0, 0], [0, 0, 0]])]),
    "token dimension": ("many", [np.ones((2, 4))]),
}


@pytest.mark.parametrize("name", BAD_COLUMNS)
def test_vectors_that_must_not_be_stored(name: str) -> None:
    vector, column = BAD_COLUMNS[name]
    ids = [point_id(0), point_id(1)] if name == "falling indptr" else [point_id(0)]
    with pytest.raises(InvalidVectorError) as refused:
        checked_vectors(SCHEMA, ids, {vector: column})
    assert vector in str(refused.value) or "CSR" in str(refused.value)


def test_the_row_at_fault_is_named() -> None:
    ids = [point_id(i) for i in range(4)]
    late = SparseRows(np.array([0, 0, 2, 2, 4]), np.array([1, 2, 9, 3], np.uint32), np.ones(4, np.float32))
    with pytest.raises(InvalidVectorError, match=f"'words' of {ids[3]} has index 3"):
        checked_vectors(SCHEMA, ids, {"words": late})


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["7"], "'7'"),
        ([7], "7"),
        ([point_id(1).upper()], "lower case"),
        ([point_id(1), point_id(1)], "twice"),
    ],
)
def test_ids_that_are_none(ids: list[Any], said: str) -> None:
    with pytest.raises(StoreError, match=said):
        checked_points(SCHEMA, Points(ids, [{}] * len(ids), {}))


@pytest.mark.parametrize(
    "value",
    [float("nan"), b"x", (1,), {1: 2}, {"a": {2}}, "\ud800", 2**63, np.float32(1), ["ok", float("inf")]],
    ids=repr,
)
def test_payloads_that_json_cannot_carry(value: Any) -> None:
    with pytest.raises(StoreError, match=point_id(0)):
        checked_points(SCHEMA, Points([point_id(0)], [{"key": value}], {}))


def test_columns_of_unequal_length() -> None:
    with pytest.raises(StoreError, match="2 ids came with 1 payloads"):
        checked_points(SCHEMA, Points([point_id(0), point_id(1)], [{}], {}))


def test_a_query_is_checked_like_a_row() -> None:
    with pytest.raises(InvalidVectorError, match="'dense' of the query"):
        checked_leg(SCHEMA, Leg("dense", np.zeros(4, np.float32)))
    with pytest.raises(InvalidVectorError, match="out of order"):
        checked_leg(SCHEMA, Leg("words", (np.array([3, 1], np.uint32), np.ones(2, np.float32))))
    with pytest.raises(InvalidVectorError, match="nobody"):
        checked_leg(SCHEMA, Leg("nobody", np.ones(4, np.float32)))


row_dicts = st.dictionaries(
    st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6, width=32, allow_subnormal=False), max_size=8
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(row_dicts, min_size=1, max_size=5))
def test_any_sparse_rows_come_back(rows: list[dict[int, float]], store: Store) -> None:
    ids = [point_id(i) for i in range(len(rows))]
    store.upsert(Points(ids, [{}] * len(rows), {"plain": sparse(*rows)}))
    for row, record in zip(rows, store.get(ids, vectors=("plain",)), strict=True):
        indices, values = record.vectors["plain"]
        assert dict(zip(indices.tolist(), values.tolist(), strict=True)) == row
        assert indices.tolist() == sorted(row)


# What a server may forbid.

STRICT: dict[str, dict[str, Any]] = {
    "limit": {"max_query_limit": 10},
    "exact": {"search_allow_exact": False},
    "unindexed": {"unindexed_filtering_retrieve": False, "unindexed_filtering_update": False},
}
STRICT["all"] = {key: value for one in STRICT.values() for key, value in one.items()}


@pytest.fixture(scope="module", params=STRICT)
def strict(request: pytest.FixtureRequest) -> Iterator[Standin]:
    with Standin(strict={"enabled": True, **STRICT[request.param]}) as standin:
        yield standin


def test_a_store_keeps_to_strict_mode(strict: Standin) -> None:
    store = ClientStore.create(strict.client(), f"c-{uuid.uuid4().hex}", SCHEMA)
    points = some_points(45)
    store.upsert(points)
    store.update_vectors(points.ids[:1], {"words": sparse({})})
    assert store.count() == 45 and store.count(Filter(has=("words",))) == 45
    assert store.count(Filter(lacks=("many",))) == 45 and store.count(exact=False) == 45
    assert store.facet("path") == {f"p/{i}.py": 3 for i in range(15)}
    assert store.facet("kind") == {"prose": 23, "code": 22}
    assert store.facet("kind", Filter(match={"path": ("p/0.py",)})) == {"prose": 2, "code": 1}
    assert ids_of(store.scroll(fields=())) == sorted(points.ids)
    assert ids_of(store.scroll(after=sorted(points.ids)[3], limit=25)) == sorted(points.ids)[4:29]
    assert len(store.get(points.ids, vectors=("dense",))) == 45
    [found] = store.search([Leg("dense", dense(1)[0])], Filter(match={"kind": ("code",)}), 200, ())
    assert len(found) == (10 if store.rules.max_limit else 22)
    store.delete(where=Filter(match={"path": ("p/0.py",)}))
    assert store.count() == 42


def test_a_facet_of_many_values_is_whole(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecloom.stores.client._FACET_VALUES", 5)
    store = ClientStore.create(standin.client(), f"c-{uuid.uuid4().hex}", SCHEMA)
    store.upsert(some_points(90))
    assert store.facet("path") == {f"p/{i}.py": 3 for i in range(30)}
    assert store.facet("kind") == {"prose": 45, "code": 45}


def test_a_collection_of_an_earlier_version_is_read_in_strict_mode() -> None:
    with Standin(strict={"enabled": True, **STRICT["all"]}) as standin:
        client, name = standin.client(), f"c-{uuid.uuid4().hex}"
        store = ClientStore.create(client, name, SCHEMA)
        store.upsert(some_points(3))
        client.delete_payload_index(name, "empty_vectors")
        reader = ClientStore.open(client, name)
        assert reader is not None and reader.count(Filter(has=("words",))) == 3
        reader.make_ready()
        reader.update_vectors([point_id(0)], {"words": sparse({})})
        assert reader.count(Filter(has=("words",))) == 3


# What only the embedded engine has.


def test_a_shard_of_an_earlier_version_takes_empty_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tuple(key for key in INDEXED_KEYS if key != "empty_vectors")
    monkeypatch.setattr("vecloom.stores.edge.INDEXED_KEYS", keys)
    store = EdgeStore.create(tmp_path / "old", SCHEMA)
    store.upsert(some_points(3))
    assert store.count(Filter(lacks=("words",))) == 0
    store.update_vectors([point_id(0)], {"words": sparse({})})
    assert store.facet("empty_vectors") == {"words": 1}
    assert store.count(Filter(lacks=("words",))) == 0 and store.count(Filter(has=("words",))) == 3
    store.close()


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard"
    with_points = EdgeStore.create(path, SCHEMA)
    with_points.upsert(some_points(20))
    with_points.close()
    return path


def test_a_shard_is_there_again(shard: Path) -> None:
    store = EdgeStore.open(shard, SCHEMA)
    assert store.count() == 20 and store.get([point_id(3)])[0].payload == payload(3)
    store.close()


def test_nothing_flushed_is_lost_without_close(shard: Path) -> None:
    code = f"""
import os, sys
sys.path[:0] = [{SOURCE!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from test_stores import *
store = EdgeStore.open(Path({str(shard)!r}), SCHEMA)
store.upsert(some_points(10, first=20))
store.delete(ids=[point_id(0)])
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    store = EdgeStore.open(shard, SCHEMA)
    assert store.count() == 29
    store.close()


def test_one_owner(shard: Path) -> None:
    store = EdgeStore.open(shard, SCHEMA)
    with pytest.raises(StoreBusyError, match="another process"):
        EdgeStore.open(shard, SCHEMA)
    store.close()


def test_a_shard_is_made_once(shard: Path) -> None:
    with pytest.raises(StoreError):
        EdgeStore.create(shard, SCHEMA)


def test_no_shard(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no shard"):
        EdgeStore.open(tmp_path, SCHEMA)


def test_a_schema_that_does_not_fit(shard: Path) -> None:
    wider = Schema((VectorField("dense", "dense", 5), *SCHEMA.vectors[1:]))
    with pytest.raises(StoreError, match="4 dimensions, not 5"):
        EdgeStore.open(shard, wider)
    with pytest.raises(StoreError, match="'many'"):
        EdgeStore.open(shard, Schema(SCHEMA.vectors[:3]))


def test_a_vector_that_a_kill_kept_from_being_added(shard: Path) -> None:
    grown = Schema((*SCHEMA.vectors, VectorField("late", "sparse", modifier="idf")))
    store = EdgeStore.open(shard, grown)
    store.update_vectors([point_id(0)], {"late": sparse({1: 1.0})})
    store.close()
    store = EdgeStore.open(shard, grown)
    assert store.count(Filter(has=("late",))) == 1
    store.close()


def test_what_a_killed_optimiser_left_is_removed(shard: Path) -> None:
    left = shard / "temp_segments" / "segment_builder_x"
    left.mkdir(parents=True)
    (left / "vectors").write_bytes(bytes(1000))
    store = EdgeStore.open(shard, SCHEMA)
    assert not left.exists() and store.count() == 20
    store.close()


def test_a_copy_of_a_closed_shard_opens(shard: Path, tmp_path: Path) -> None:
    shutil.copytree(shard, tmp_path / "copy")
    store = EdgeStore.open(tmp_path / "copy", SCHEMA)
    assert store.count() == 20
    store.close()


def test_a_damaged_shard_is_an_error(shard: Path) -> None:
    for segment in (shard / "segments").glob("*/segment.json"):
        segment.write_text("{")
    with pytest.raises(StoreError):
        EdgeStore.open(shard, SCHEMA)


def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A writer says after each write what it was; SIGKILL comes at another moment each round."""
    code = f"""
import sys
sys.path[:0] = [{SOURCE!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from test_stores import *
store = EdgeStore.open(Path({str(tmp_path / "shard")!r}), SCHEMA)
for first in range(int(sys.argv[1]), 10**6, 50):
    points = some_points(50, first)
    words = {{"words": points.vectors["words"]}}
    store.upsert(Points(points.ids, points.payloads, words))
    print("upsert", first, flush=True)
    store.update_vectors(points.ids, {{"dense": points.vectors["dense"]}})
    print("update", first, flush=True)
"""
    EdgeStore.create(tmp_path / "shard", SCHEMA).close()
    first = 0
    for round_number in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(first)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert writer.stdout is not None
        heard = [writer.stdout.readline() for _ in range(1 + 7 * round_number)]
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        store = EdgeStore.open(tmp_path / "shard", SCHEMA)
        stored = store.count()
        upserted = [int(line.split()[1]) for line in heard if line.startswith("upsert")]
        updated = [int(line.split()[1]) for line in heard if line.startswith("update")]
        # At most the operation after the last one heard is there too, and then as a whole.
        assert stored in (upserted[-1] + 50, upserted[-1] + 100)
        filled = store.count(Filter(has=("dense",)))
        assert filled - first in ({50 * len(updated), 50 * len(updated) + 50})
        missing = ids_of(store.scroll(Filter(lacks=("dense",)), fields=()))
        store.update_vectors(missing, {"dense": np.ones((len(missing), 4), np.float32)})
        store.close()
        first = stored
    assert first > 0


def test_a_full_disk_is_an_error_and_what_is_stored_stays(tmp_path: Path) -> None:
    """On a tmpfs of 300 MiB, mounted in a namespace of the child's own."""
    code = f"""
import sys
sys.path[:0] = [{SOURCE!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from test_stores import *
path = Path("disk/shard")
store = EdgeStore.create(path, SCHEMA)
stored = 0
try:
    while True:
        points = some_points(200, stored)
        store.upsert(Points(points.ids, [{{"text": "x" * 50000}}] * 200, points.vectors))
        stored += 200
except StoreFullError as error:
    print(error)
store.close()
store = EdgeStore.open(path, SCHEMA)
assert stored and store.count() == stored, (stored, store.count())
store.close()
try:
    EdgeStore.create(Path("disk/other"), SCHEMA)
except StoreFullError as error:
    print(error)
"""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    (tmp_path / "disk").mkdir()
    mount = "mount -t tmpfs -o size=300m none disk"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mounted, mount], cwd=tmp_path, check=False, capture_output=True).returncode
    ):
        pytest.skip("this machine lets nobody mount a tmpfs")
    script = f'{mount}; exec "$0" -c "$1"'
    ran = subprocess.run(
        [*mounted, script, sys.executable, code], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert len([line for line in ran.stdout.splitlines() if "make room and run again" in line]) == 2


def test_a_log_that_finds_no_room_is_not_replayed(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shard / "unflushed").touch()
    monkeypatch.setattr("vecloom.stores.room.MARGIN", 1 << 60)
    with pytest.raises(StoreFullError, match="make room"):
        EdgeStore.open(shard, SCHEMA)
    (shard / "unflushed").unlink()
    store = EdgeStore.open(shard, SCHEMA)
    assert store.count() == 20
    store.close()
