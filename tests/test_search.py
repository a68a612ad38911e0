"""The search plan over the client's in-memory engine: filters, legs, fusion, one result a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from vecloom.errors import UsageError
from vecloom.search import Query, path_pattern, search
from vecloom.stores.client import ClientStore
from vecloom.types import Points, Schema, SparseRows, VectorField, Vectors

SCHEMA = Schema((VectorField("dense", "dense", 3), VectorField("words", "sparse", None, "idf")))
FILES = ["src/a.py", "src/a.py", "docs/a.md", "src/deep/b.py"]


def sparse(*rows: dict[int, float]) -> SparseRows:
    return SparseRows(
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.array([i for row in rows for i in sorted(row)], dtype=np.uint32),
        np.array([row[i] for row in rows for i in sorted(row)], dtype=np.float32),
    )


@pytest.fixture
def store() -> Iterator[ClientStore]:
    client = QdrantClient(":memory:")
    made = ClientStore.create(client, "test", SCHEMA)
    ids = [str(uuid.UUID(int=n)) for n in range(4)]
    payloads = [
        {
            "source": "one",
            "path": path,
            "kind": "code" if path.endswith(".py") else "prose",
            "language": "python" if path.endswith(".py") else "markdown",
            "start_line": n,
            "end_line": n,
            "breadcrumb": "",
            "text": f"chunk {n}",
        }
        for n, path in enumerate(FILES)
    ]
    dense = np.array([[1, 0, 0], [0.9, 0.1, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=np.float32)
    words = sparse({1: 1.0}, {1: 0.5, 2: 1.0}, {3: 1.0}, {2: 2.0})
    made.upsert(Points(ids, payloads, {"dense": dense, "words": words}))
    yield made
    client.close()


QUERY: dict[str, Vectors] = {"dense": np.array([[1, 0, 0]], dtype=np.float32), "words": sparse({2: 1.0})}


def found(store: ClientStore, query: Query) -> list[str]:
    return [hit.text for hit in search(store, query, QUERY)]


def test_legs_are_fused_and_told(store: ClientStore) -> None:
    hits = search(store, Query("x", fusion="rrf", per_file=9), QUERY)
    assert [hit.text for hit in hits] == ["chunk 1", "chunk 3", "chunk 0", "chunk 2"]
    assert hits[0].legs["dense"].rank == 2 and hits[0].legs["words"].rank == 2
    assert hits[0].score == pytest.approx(2 / 62)
    assert "words" not in hits[2].legs


def test_one_result_a_file_comes_first(store: ClientStore) -> None:
    assert found(store, Query("x", fusion="rrf")) == ["chunk 1", "chunk 3", "chunk 2", "chunk 0"]
    assert found(store, Query("x", fusion="rrf", limit=2)) == ["chunk 1", "chunk 3"]


def test_legs_can_be_chosen_and_weighted(store: ClientStore) -> None:
    assert found(store, Query("x", using=("words",))) == ["chunk 3", "chunk 1"]
    assert found(store, Query("x", weights={"dense": 0.0})) == ["chunk 3", "chunk 1"]
    assert found(store, Query("x", weights={"words": 0.01}, per_file=9))[0] == "chunk 0"


@pytest.mark.parametrize(
    ("filters", "chunks"),
    [
        ({"path": ("*.md",)}, {2}),
        ({"path": ("src/*.py",)}, {0, 1}),
        ({"path": ("src/**/*.py",)}, {0, 1, 3}),
        ({"path": ("src",)}, {0, 1, 3}),
        ({"path": ("/a.py",)}, set()),
        ({"path": ("*.md", "b.py")}, {2, 3}),
        ({"language": ("markdown",)}, {2}),
        ({"kind": ("code",), "path": ("deep",)}, {3}),
        ({"source": ("two",)}, set()),
    ],
)
def test_filters(store: ClientStore, filters: dict[str, tuple[str, ...]], chunks: set[int]) -> None:
    assert set(found(store, Query("x", filters=filters))) == {f"chunk {n}" for n in chunks}


def test_a_query_without_a_known_word_is_answered_by_the_other_leg(store: ClientStore) -> None:
    hits = search(store, Query("x"), {**QUERY, "words": sparse({})})
    assert hits and all(set(hit.legs) == {"dense"} for hit in hits)
    assert search(store, Query("x", using=("words",)), {"words": sparse({})}) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": " "}, "empty"),
        ({"text": "x", "limit": 0}, "limit is 1 to"),
        ({"text": "x", "fusion": "sum"}, "rrf, dbsf, weighted"),
        ({"text": "x", "weights": {"dense": float("nan")}}, "not below 0"),
        ({"text": "x", "filters": {"colour": ("red",)}}, "path, language, kind, source"),
    ],
)
def test_wrong_queries_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Query(**arguments)


def test_unknown_legs_are_refused(store: ClientStore) -> None:
    with pytest.raises(UsageError, match="it has dense, words"):
        found(store, Query("x", using=("other",)))
    with pytest.raises(UsageError, match="leave one in"):
        found(store, Query("x", weights={"dense": 0, "words": 0}))


def test_a_folder_stands_for_what_is_below_it() -> None:
    assert path_pattern("docs/").fullmatch("old/docs/guide.md")
    assert not path_pattern("/docs").fullmatch("old/docs/guide.md")
    assert path_pattern("a*").fullmatch("deep/a\nb.md")
