"""The stand-in for a Qdrant server answers as one does, fails as it is told, and leaves nothing half done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from qdrant_operations import TokenAccess
from qdrant_standin import Standin

HERE = Path(__file__).parent
VECTORS = {"dense": models.VectorParams(size=3, distance=models.Distance.COSINE)}
SPARSE = {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)}


@pytest.fixture
def client(standin: Standin) -> Iterator[QdrantClient]:
    standin.forget()
    opened = standin.client(timeout=60)
    yield opened
    opened.close()


@pytest.fixture
def collection(client: QdrantClient) -> str:
    name = f"c-{uuid.uuid4().hex}"
    client.create_collection(name, VECTORS, SPARSE)
    return name


def points(*ids: int, **payload: Any) -> list[models.PointStruct]:
    return [
        models.PointStruct(
            id=i,
            vector={
                "dense": [1.0, float(i), 0.5],
                "words": models.SparseVector(indices=[i, 1000], values=[1.0, 2.0]),
            },
            payload={"n": i, **payload},
        )
        for i in ids
    ]


def stored(client: QdrantClient, collection: str) -> dict[int, Any]:
    """Payloads by id; a point without one of its vectors fails the test."""
    found, following = client.scroll(collection, limit=10_000, with_vectors=True)
    assert following is None
    assert all(isinstance(one.vector, dict) and set(one.vector) == {"dense", "words"} for one in found)
    return {int(one.id): one.payload for one in found}


def error_of(raised: pytest.ExceptionInfo[UnexpectedResponse]) -> str:
    return str(raised.value.structured()["status"]["error"])


# What a server answers.


def test_the_version_is_the_clients(client: QdrantClient) -> None:
    assert client.info().version.split(".")[0] == "1"


def test_a_collection_that_is_not_there(client: QdrantClient) -> None:
    asked: list[Callable[[], Any]] = [
        lambda: client.get_collection("nobody"),
        lambda: client.count("nobody"),
        lambda: client.upsert("nobody", points(1)),
        lambda: client.update_collection("nobody", hnsw_config=models.HnswConfigDiff(m=8)),
    ]
    for ask in asked:
        with pytest.raises(UnexpectedResponse) as raised:
            ask()
        assert raised.value.status_code == 404
        assert error_of(raised) == "Not found: Collection `nobody` doesn't exist!"
    assert not client.collection_exists("nobody") and not client.delete_collection("nobody")


def test_a_collection_is_made_once(client: QdrantClient, collection: str) -> None:
    with pytest.raises(UnexpectedResponse) as raised:
        client.create_collection(collection, VECTORS)
    assert raised.value.status_code == 409 and "already exists" in error_of(raised)
    assert collection in [one.name for one in client.get_collections().collections]
    assert client.delete_collection(collection) and not client.collection_exists(collection)


def test_settings_are_what_was_given(client: QdrantClient) -> None:
    name = f"c-{uuid.uuid4().hex}"
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    client.create_collection(
        name,
        {"dense": models.VectorParams(size=3, distance=models.Distance.COSINE, on_disk=True)},
        SPARSE,
        hnsw_config=models.HnswConfigDiff(m=0, ef_construct=512),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        quantization_config=models.ScalarQuantization(scalar=scalar),
        on_disk_payload=True,
        metadata={"by": "a test"},
    )
    made = client.get_collection(name)
    assert (made.status, made.points_count) == (models.CollectionStatus.GREEN, 0)
    assert (made.config.hnsw_config.m, made.config.hnsw_config.ef_construct) == (0, 512)
    assert made.config.hnsw_config.full_scan_threshold == 10_000
    assert made.config.optimizer_config.indexing_threshold == 0
    assert made.config.quantization_config == models.ScalarQuantization(scalar=scalar)
    assert made.config.params.on_disk_payload and made.config.metadata == {"by": "a test"}
    assert made.config.params.sparse_vectors == SPARSE
    vectors = made.config.params.vectors
    assert isinstance(vectors, dict) and vectors["dense"].on_disk and vectors["dense"].size == 3
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=False))
    client.update_collection(
        name,
        hnsw_config=models.HnswConfigDiff(m=48),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=20_000),
        quantization_config=binary,
        vectors_config={"dense": models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=24))},
    )
    changed = client.get_collection(name).config
    assert (changed.hnsw_config.m, changed.hnsw_config.ef_construct) == (48, 512)
    assert changed.optimizer_config.indexing_threshold == 20_000
    assert changed.quantization_config == binary
    vectors = changed.params.vectors
    assert isinstance(vectors, dict) and vectors["dense"].on_disk
    assert vectors["dense"].hnsw_config == models.HnswConfigDiff(m=24)
    client.update_collection(name, quantization_config=models.Disabled.DISABLED)
    assert client.get_collection(name).config.quantization_config is None


def test_payload_indexes_are_named_and_facets_need_one(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [*points(1, 2, path="a"), *points(3)])
    with pytest.raises(UnexpectedResponse) as raised:
        client.facet(collection, "path")
    assert raised.value.status_code == 400 and "No appropriate index for faceting: `path`" in error_of(raised)
    client.create_payload_index(collection, "path", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(
        collection, "n", models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER)
    )
    schema = client.get_collection(collection).payload_schema
    assert {key: (one.data_type.value, one.points) for key, one in schema.items()} == {
        "path": ("keyword", 3),
        "n": ("integer", 3),
    }
    assert [(hit.value, hit.count) for hit in client.facet(collection, "path").hits] == [("a", 2)]
    client.delete_payload_index(collection, "n")
    assert list(client.get_collection(collection).payload_schema) == ["path"]


def test_vectors_are_added_and_removed_on_a_live_collection(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, points(1, 2))
    half = models.VectorStorageDatatype.FLOAT16
    dense = models.DenseVectorConfig(size=2, distance=models.Distance.COSINE, datatype=half)
    client.create_vector_name(collection, "late", models.DenseVectorNameConfig(dense=dense))
    sparse = models.SparseVectorConfig(modifier=models.Modifier.IDF)
    client.create_vector_name(collection, "late-words", models.SparseVectorNameConfig(sparse=sparse))
    params = client.get_collection(collection).config.params
    assert isinstance(params.vectors, dict) and set(params.vectors) == {"dense", "late"}
    assert params.vectors["late"].datatype is models.Datatype.FLOAT16
    assert params.sparse_vectors is not None and set(params.sparse_vectors) == {"words", "late-words"}
    client.update_vectors(collection, [models.PointVectors(id=2, vector={"late": [0.0, 2.0]})])
    has_late = models.Filter(must=[models.HasVectorCondition(has_vector="late")])
    assert client.count(collection, has_late).count == 1
    client.delete_vector_name(collection, "late")
    client.delete_vector_name(collection, "late-words")
    assert stored(client, collection) == {1: {"n": 1}, 2: {"n": 2}}
    params = client.get_collection(collection).config.params
    assert isinstance(params.vectors, dict) and set(params.vectors) == {"dense"}


def test_an_alias_is_switched_in_one_request(client: QdrantClient, collection: str) -> None:
    other, alias = f"c-{uuid.uuid4().hex}", f"a-{uuid.uuid4().hex}"
    client.create_collection(other, VECTORS, SPARSE)
    make = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
    )
    client.update_collection_aliases([make])
    client.upsert(alias, points(1))
    assert client.count(collection).count == 1 and client.collection_exists(alias)
    client.update_collection(alias, hnsw_config=models.HnswConfigDiff(m=7))
    assert client.get_collection(collection).config.hnsw_config.m == 7
    make.create_alias.collection_name = other
    drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    client.update_collection_aliases([drop, make])
    assert client.count(alias).count == 0
    assert [one.alias_name for one in client.get_collection_aliases(other).aliases] == [alias]
    assert (alias, other) in [(one.alias_name, one.collection_name) for one in client.get_aliases().aliases]
    make.create_alias.collection_name = "nobody"
    with pytest.raises(UnexpectedResponse) as raised:
        client.update_collection_aliases([make])
    assert raised.value.status_code == 404


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ({"dense": [1.0, 2.0]}, "expected dim: 3, got 2"),
        ({"nobody": [1.0, 2.0, 3.0]}, "Not existing vector name error: nobody"),
        ({"dense": models.SparseVector(indices=[1], values=[1.0])}, "dense"),
        ([1.0, 2.0, 3.0], ""),
    ],
)
def test_a_point_that_does_not_fit_is_refused_with_all_of_its_request(
    vector: Any, said: str, client: QdrantClient, collection: str
) -> None:
    with pytest.raises(UnexpectedResponse) as raised:
        client.upsert(collection, [*points(1), models.PointStruct(id=2, vector=vector)])
    assert raised.value.status_code == 400 and error_of(raised).startswith("Wrong input: ")
    assert said in error_of(raised)
    assert stored(client, collection) == {}


def test_a_body_that_is_no_request_is_refused(standin: Standin, collection: str) -> None:
    for body in ("{", '{"points": [{"id": "no uuid", "vector": {}}]}', '{"point": []}', "[]"):
        status, answer, _ = ask(standin, "PUT", f"/collections/{collection}/points", body)
        assert status == 400 and json.loads(answer)["status"]["error"]
    status, answer, _ = ask(standin, "PUT", f"/collections/{collection}/nothing", "{}")
    assert status == 404 and "no PUT" in json.loads(answer)["status"]["error"]


def test_an_update_of_a_point_that_is_not_there(client: QdrantClient, collection: str) -> None:
    with pytest.raises(UnexpectedResponse) as raised:
        client.update_vectors(collection, [models.PointVectors(id=9, vector={"dense": [1.0, 0.0, 0.0]})])
    assert raised.value.status_code == 404 and error_of(raised) == "Not found: No point with id 9 found"


@pytest.mark.parametrize("collected", [False, True])
def test_an_update_without_a_vector_is_refused(
    collected: bool, client: QdrantClient, collection: str
) -> None:
    client.upsert(collection, points(1))
    vector: dict[str, Any] = {"words": models.SparseVector(indices=[], values=[])}
    empty = models.PointVectors(id=1, vector=vector)
    with pytest.raises(UnexpectedResponse) as raised:
        if collected:
            update = models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[empty]))
            client.batch_update_points(collection, [update])
        else:
            client.update_vectors(collection, [empty])
    assert raised.value.status_code == 422
    assert error_of(raised) == (
        "Validation error in JSON body: [points[0].vector: must specify vectors to update for point]"
    )
    client.update_vectors(
        collection, [models.PointVectors(id=1, vector={**vector, "dense": [1.0, 0.0, 0.0]})]
    )


def test_a_sparse_vector_names_an_index_once(client: QdrantClient, collection: str) -> None:
    twice: dict[str, Any] = {"words": models.SparseVector(indices=[1, 1], values=[1.0, 2.0])}
    with pytest.raises(UnexpectedResponse) as raised:
        client.upsert(collection, [models.PointStruct(id=1, vector=twice)])
    assert raised.value.status_code == 422 and "must be unique" in error_of(raised)


STRICT = models.StrictModeConfig(
    enabled=True,
    max_query_limit=5,
    search_allow_exact=False,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
)


def test_strict_mode_refuses(client: QdrantClient) -> None:
    name = f"c-{uuid.uuid4().hex}"
    client.create_collection(name, VECTORS, SPARSE, strict_mode_config=STRICT)
    assert client.get_collection(name).config.strict_mode_config.max_query_limit == 5  # type: ignore[union-attr]
    client.create_payload_index(name, "path", models.PayloadSchemaType.KEYWORD)
    client.upsert(name, points(1, 2, path="a"))
    by_n = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=1))])
    deep = models.Filter(must=[models.Filter(should=[by_n])])
    exact = models.SearchParams(exact=True)
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("Exact search disabled!", lambda: client.count(name, exact=True)),
        ("Exact search disabled!", lambda: client.facet(name, "path", limit=3, exact=True)),
        (
            "Exact search disabled!",
            lambda: client.query_points(name, [1.0, 0, 0], using="dense", limit=3, search_params=exact),
        ),
        ('Limit exceeded 6 > 5 for "limit"', lambda: client.scroll(name, limit=6)),
        ('Limit exceeded 6 > 5 for "limit"', lambda: client.facet(name, "path", limit=6)),
        (
            'Limit exceeded 10 > 5 for "limit"',
            lambda: client.query_points(name, [1.0, 0.0, 0.0], using="dense"),
        ),
        ('Index required but not found for "n"', lambda: client.scroll(name, by_n, limit=3)),
        ('Index required but not found for "n"', lambda: client.count(name, deep, exact=False)),
        ('Index required but not found for "n"', lambda: client.delete(name, by_n)),
        ('Index required but not found for "n"', lambda: client.set_payload(name, {"a": 1}, by_n)),
    ]
    for said, ask in refused:
        with pytest.raises(UnexpectedResponse) as raised:
            ask()
        assert raised.value.status_code == 400 and error_of(raised).startswith(f"Bad request: {said}")
    assert client.count(name, exact=False).count == 2
    assert [hit.count for hit in client.facet(name, "path", limit=5).hits] == [2]
    client.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False))
    assert client.count(name, deep, exact=True).count == 1


def test_tokens_do_what_they_may() -> None:
    tokens: dict[str, TokenAccess] = {
        "reader": "r",
        "one": [{"collection": "docs", "access": "r"}],
        "writer": [{"collection": "docs", "access": "rw"}],
    }
    with Standin(api_key="all", tokens=tokens) as standin:
        standin.client().create_collection("docs", VECTORS, SPARSE)
        standin.client().create_collection("other", VECTORS, SPARSE)

        def status(token: str, ask: Callable[[QdrantClient], Any]) -> int | None:
            headers = {"api-key": token}
            client = QdrantClient(url=standin.url, headers=headers, check_compatibility=False)
            try:
                ask(client)
            except UnexpectedResponse as error:
                return error.status_code
            finally:
                client.close()
            return 200

        calls: dict[str, Callable[[QdrantClient], Any]] = {
            "read": lambda client: client.count("docs"),
            "read other": lambda client: client.get_collection("other"),
            "write": lambda client: client.upsert("docs", points(1)),
            "list": lambda client: client.get_collections(),
            "aliases": lambda client: client.get_aliases(),
            "metadata": lambda client: client.update_collection("docs", metadata={"a": 1}),
        }
        allowed = {
            "all": {*calls},
            "reader": {"read", "read other", "list", "aliases"},
            "one": {"read"},
            "writer": {"read", "write"},
        }
        for token, may in allowed.items():
            found = {name: status(token, ask) for name, ask in calls.items()}
            assert found == {name: 200 if name in may else 403 for name in calls}, token
        assert status("nobody", calls["read"]) == 401


def test_updates_of_every_kind_in_one_batch(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, points(1, 2, 3, 4, 5, 6))
    vectors = models.PointVectors(id=4, vector={"dense": [0.0, 0.0, 2.0]})
    results = client.batch_update_points(
        collection,
        [
            models.UpsertOperation(upsert=models.PointsList(points=points(7))),
            models.DeleteOperation(delete=models.PointIdsList(points=[1])),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"a": 1}, points=[2])),
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload={"b": 1}, points=[3])
            ),
            models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["n"], points=[4])),
            models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[5])),
            models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[vectors])),
        ],
    )
    assert [one.status for one in results] == [models.UpdateStatus.COMPLETED] * 7
    wanted = {2: {"n": 2, "a": 1}, 3: {"b": 1}, 4: {}, 5: {}, 6: {"n": 6}, 7: {"n": 7}}
    assert stored(client, collection) == wanted
    [moved] = client.retrieve(collection, [4], with_vectors=["dense"])
    assert moved.vector == {"dense": [0.0, 0.0, 1.0]}
    drop = models.DeleteVectors(vector=["words"], points=[6])
    client.batch_update_points(collection, [models.DeleteVectorsOperation(delete_vectors=drop)])
    assert client.count(collection, models.Filter(must=[models.HasVectorCondition(has_vector="words")])) == (
        models.CountResult(count=5)
    )


def test_updates_of_every_kind_alone(client: QdrantClient, collection: str) -> None:
    columns = models.Batch(
        ids=[1, 2], vectors={"dense": [[1.0, 0.0, 0.0]] * 2}, payloads=[{"n": 1}, {"n": 2}]
    )
    client.upsert(collection, columns)
    client.set_payload(collection, {"deep": {"a": 1}}, [1])
    client.set_payload(collection, {"b": 2}, [1], key="deep")
    client.overwrite_payload(
        collection,
        {"m": 1},
        models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=2))]),
    )
    by_id = {one.id: one.payload for one in client.retrieve(collection, [1, 2])}
    assert by_id == {1: {"n": 1, "deep": {"a": 1, "b": 2}}, 2: {"m": 1}}
    client.delete_payload(collection, ["n"], [1])
    client.clear_payload(collection, [2])
    client.delete_vectors(collection, ["dense"], [2])
    one, two = client.retrieve(collection, [1, 2], with_vectors=True)
    assert (one.payload, one.vector) == ({"deep": {"a": 1, "b": 2}}, {"dense": [1.0, 0.0, 0.0]})
    assert (two.payload, two.vector) == ({}, {})
    mode = models.UpdateMode.INSERT_ONLY
    client.upsert(collection, points(2, 3), update_mode=mode)
    assert {one.id: one.payload for one in client.retrieve(collection, [2, 3])} == {2: {}, 3: {"n": 3}}


def test_what_does_not_wait_is_only_acknowledged(client: QdrantClient, collection: str) -> None:
    assert client.upsert(collection, points(1), wait=False).status is models.UpdateStatus.ACKNOWLEDGED
    assert client.upsert(collection, points(2), wait=True).status is models.UpdateStatus.COMPLETED


def test_a_point_by_its_id(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, points(1))
    found = client.http.points_api.get_point(collection_name=collection, id=1).result
    assert found is not None and found.payload == {"n": 1}
    with pytest.raises(UnexpectedResponse) as raised:
        client.http.points_api.get_point(collection_name=collection, id=2)
    assert raised.value.status_code == 404


def test_a_fused_query_and_groups(client: QdrantClient, collection: str) -> None:
    client.upsert(collection, [*points(1, 2, path="a"), *points(3, 4, path="b")])
    words = models.SparseVector(indices=[3], values=[1.0])
    found = client.query_points(
        collection,
        models.FusionQuery(fusion=models.Fusion.RRF),
        prefetch=[
            models.Prefetch(query=[1.0, 3.0, 0.5], using="dense"),
            models.Prefetch(query=words, using="words"),
        ],
        limit=1,
    )
    assert [one.id for one in found.points] == [3]
    groups = client.query_points_groups(collection, "path", [1.0, 4.0, 0.5], using="dense", group_size=1)
    assert [(group.id, [hit.id for hit in group.hits]) for group in groups.groups] == [("b", [4]), ("a", [2])]


def test_a_connection_is_kept(standin: Standin) -> None:
    with closing(HTTPConnection("127.0.0.1", port_of(standin))) as connection:
        connection.connect()
        kept = connection.sock
        for _ in range(3):
            connection.request("GET", "/collections/nobody/exists")
            assert json.loads(connection.getresponse().read())["result"] == {"exists": False}
            assert connection.sock is kept


def test_uploads_go_side_by_side(client: QdrantClient, collection: str) -> None:
    batches = [points(*range(first, first + 25)) for first in range(0, 200, 25)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(client.upsert, collection), batches))
    assert set(stored(client, collection)) == set(range(200))


# Keys and limits.


def test_a_key_is_asked_for_and_a_body_has_a_limit() -> None:
    with Standin(api_key="right", max_body=2000) as keyed:
        assert ask(keyed, "GET", "/")[0] == 200
        assert ask(keyed, "GET", "/collections")[:2] == (
            401,
            b"Must provide an API key or an Authorization bearer token",
        )
        assert ask(keyed, "GET", "/collections", headers={"api-key": "wrong"})[:2] == (
            401,
            b"Invalid API key or JWT",
        )
        for headers in ({"api-key": "right"}, {"Authorization": "Bearer right"}):
            assert ask(keyed, "GET", "/collections", headers=headers)[0] == 200
        with closing(keyed.client()) as client:
            client.create_collection("c", VECTORS, SPARSE)
            with pytest.raises(UnexpectedResponse) as raised:
                client.upsert("c", points(*range(100)))
            assert raised.value.status_code == 400
            assert "is larger than allowed (limit: 2000 bytes)" in error_of(raised)
            assert client.count("c").count == 0
        assert [one.api_key for one in keyed.requests("^/collections$")] == [False, True, True, True]


def test_a_proxy_refuses_what_is_too_large() -> None:
    with Standin(max_body=2000, too_large=413) as proxied, closing(proxied.client()) as client:
        client.create_collection("c", VECTORS, SPARSE)
        with pytest.raises(UnexpectedResponse) as raised:
            client.upsert("c", points(*range(100)))
        assert raised.value.status_code == 413


# Faults.


def test_requests_are_counted(standin: Standin, client: QdrantClient, collection: str) -> None:
    client.upsert(collection, points(1, 2))
    client.count(collection)
    path = f"/collections/{collection}"
    seen = [(one.method, one.path, one.status) for one in standin.requests()]
    assert seen == [
        ("PUT", path, 200),
        ("PUT", f"{path}/points", 200),
        ("POST", f"{path}/points/count", 200),
    ]
    [upsert] = standin.requests("/points$", "PUT")
    assert upsert.query == "wait=true" and upsert.size > 100 and not upsert.api_key
    standin.forget()
    assert standin.requests() == []


@pytest.mark.parametrize("kind", ["refused", "cut", "stalled"])
def test_a_connection_that_is_closed_before_anything_is_done(
    kind: str, standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault(kind, times=2, method="PUT", path="/points$")
    for _ in range(2):
        with pytest.raises(ResponseHandlingException):
            client.upsert(collection, points(*range(50)))
        assert client.count(collection).count == 0
    client.upsert(collection, points(*range(50)))
    assert set(stored(client, collection)) == set(range(50))
    puts = [(one.fault, one.status) for one in standin.requests("/points$")]
    assert puts == [(kind, None), (kind, None), (None, 200)]


@pytest.mark.parametrize(("kind", "sent"), [("refused", 0), ("cut", 500_000)])
def test_a_body_is_not_read_to_its_end(
    kind: str, sent: int, standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault(kind, path="/points$")
    head = f"PUT /collections/{collection}/points HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(standin)), timeout=30) as patient:
        patient.sendall(head.encode() + b" " * sent)
        assert patient.recv(1) == b""


def test_a_stall_outlasts_the_clients_patience(
    standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault("stalled", seconds=60, path="/points/count")
    begun = time.monotonic()
    timed_out = pytest.raises(ResponseHandlingException, match="timed out")
    with closing(standin.client(timeout=1)) as impatient, timed_out:
        impatient.count(collection)
    assert 0.9 < time.monotonic() - begun < 30
    assert client.count(collection).count == 0


def test_a_slow_answer_comes_too_late_but_the_points_are_there(
    standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault("slow", seconds=60, path="/points$")
    timed_out = pytest.raises(ResponseHandlingException, match="timed out")
    with closing(standin.client(timeout=1)) as impatient, timed_out:
        impatient.upsert(collection, points(1))
    wait_for(lambda: set(stored(client, collection)) == {1})


@pytest.mark.parametrize("kind", ["unanswered", "halved"])
def test_an_operation_that_was_done_is_done_again(
    kind: str, standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault(kind, path="/points$")
    with pytest.raises(ResponseHandlingException):
        client.upsert(collection, points(1, 2))
    assert set(stored(client, collection)) == {1, 2}
    client.upsert(collection, points(1, 2))
    assert set(stored(client, collection)) == {1, 2}
    assert [one.status for one in standin.requests("/points$", "PUT")] == [None, 200]


def test_an_answer_is_half(standin: Standin, client: QdrantClient, collection: str) -> None:
    for kind, error in (("halved", IncompleteRead), ("unanswered", RemoteDisconnected)):
        standin.fault(kind)
        with pytest.raises(error):
            ask(standin, "GET", f"/collections/{collection}")


@pytest.mark.parametrize("status", [408, 413, 500, 502, 503, 504, 507])
def test_a_status_instead_of_the_operation(
    status: int, standin: Standin, client: QdrantClient, collection: str
) -> None:
    standin.fault(str(status), path="/points$")
    with pytest.raises(UnexpectedResponse) as raised:
        client.upsert(collection, points(1))
    assert raised.value.status_code == status and error_of(raised)
    assert client.count(collection).count == 0
    client.upsert(collection, points(1))
    assert set(stored(client, collection)) == {1}


def test_too_many_requests(standin: Standin, client: QdrantClient, collection: str) -> None:
    standin.fault("429", retry_after=3, path="/points$")
    with pytest.raises(ResourceExhaustedResponse) as raised:
        client.upsert(collection, points(1))
    assert raised.value.retry_after_s == 3
    standin.fault("429", path="/points$")
    with pytest.raises(UnexpectedResponse) as without:
        client.upsert(collection, points(1))
    assert without.value.status_code == 429 and client.count(collection).count == 0


def test_an_optimiser_at_work(standin: Standin, client: QdrantClient, collection: str) -> None:
    standin.fault("yellow", times=2, method="GET", path=f"/collections/{collection}$")
    states = [client.get_collection(collection).status.value for _ in range(3)]
    assert states == ["yellow", "yellow", "green"]


def test_faults_wait_for_their_turn(standin: Standin, client: QdrantClient, collection: str) -> None:
    standin.fault("500", times=2, after=1, method="PUT", path="/points$")
    standin.fault("503", after=4, path="/points$")
    outcome = []
    for i in range(6):
        try:
            client.upsert(collection, points(i))
            outcome.append(200)
        except UnexpectedResponse as error:
            outcome.append(error.status_code or 0)
    assert outcome == [200, 500, 500, 200, 503, 200]
    assert set(stored(client, collection)) == {0, 3, 5}
    standin.fault("500", times=9)
    standin.forget()
    assert client.count(collection).count == 3


def test_a_fault_that_nobody_knows(standin: Standin) -> None:
    for kind in ("exploded", "200", "999"):
        with pytest.raises(ValueError, match=f"'{kind}'"):
            standin.fault(kind)


def test_nobody_listens_for_a_while(standin: Standin, client: QdrantClient, collection: str) -> None:
    client.upsert(collection, points(1))
    with closing(HTTPConnection("127.0.0.1", port_of(standin))) as kept:
        kept.request("GET", "/")
        kept.getresponse().read()
        standin.down(1.0)
        with pytest.raises(ConnectionRefusedError):
            ask(standin, "GET", "/")
        with pytest.raises(ResponseHandlingException):
            client.count(collection)
        with pytest.raises(RemoteDisconnected):
            kept.request("GET", "/")
            kept.getresponse()
    wait_for(lambda: listens(port_of(standin)))
    client.upsert(collection, points(2))
    assert set(stored(client, collection)) == {1, 2}


# Who dies.


def test_half_a_body_of_a_dead_client_is_no_request(
    standin: Standin, client: QdrantClient, collection: str
) -> None:
    body = json.dumps({"points": [{"id": 1, "vector": {"dense": [1, 2, 3]}}]})
    length = len(body) + 1  # the newline that ends it is never sent
    head = f"PUT /collections/{collection}/points HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(standin))) as dying:
        dying.sendall((head + body).encode())
        dying.shutdown(socket.SHUT_WR)
        assert dying.recv(1) == b""
    [request] = standin.requests("/points$")
    assert request.status is None and client.count(collection).count == 0


def test_it_outlives_a_client_that_is_killed(standin: Standin, client: QdrantClient, collection: str) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from test_qdrant_standin import QdrantClient, points
client = QdrantClient(url={standin.url!r}, check_compatibility=False)
for first in range(0, 10**6, 10):
    client.upsert({collection!r}, points(*range(first, first + 10)))
    print(first + 10, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as loader:
        assert loader.stdout is not None
        heard = [loader.stdout.readline() for _ in range(5)]
        loader.send_signal(signal.SIGKILL)
        heard += loader.stdout.readlines()
    acknowledged = int([line for line in heard if line.endswith("\n")][-1])
    kept = stored(client, collection)
    assert len(kept) in (acknowledged, acknowledged + 10) and set(kept) == set(range(len(kept)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_it_dies_with_who_started_it() -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from qdrant_operations import TokenAccess
from qdrant_standin import Standin
with Standin() as standin:
    print(standin.url, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = urlsplit(parent.stdout.readline().strip()).port
        assert port is not None and listens(port)
        os.kill(parent.pid, signal.SIGKILL)
    wait_for(lambda: not listens(port))


def ask(
    standin: Standin, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """A plain request: status, body and headers of the answer."""
    connection = HTTPConnection("127.0.0.1", port_of(standin), timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


def port_of(standin: Standin) -> int:
    port = urlsplit(standin.url).port
    assert port is not None
    return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
