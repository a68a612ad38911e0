"""Anything that qdrant-client reaches: a server, a cluster, or its own ``:memory:`` mode.

Importing this module loads qdrant-client (some 750 ms): import it where a collection is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from vecloom.errors import MissingExtraError, StoreError
from vecloom.stores import INDEXED_KEYS
from vecloom.stores.shared import OVERSAMPLING, PROFILES, QUANTILE, dim_of, grown, missing_point, pages
from vecloom.stores.validate import check_ids, check_payloads, checked_leg, checked_points, checked_vectors
from vecloom.types import Filter, Leg, Points, Record, Schema, Scored, SparseRows, VectorField, Vectors

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ApiException
except ImportError as error:
    raise MissingExtraError("a Qdrant server", "server") from error

T = TypeVar("T")

#: Points in a request: the server refuses more than 32 MiB, and 256 points of six vectors stay below 8.
_BATCH = 256


class ClientStore:
    """A collection behind qdrant-client (see `vecloom.stores.Store`).

    The client is the caller's: closing the store leaves it open. A write of more than 256 points goes in
    several requests, each of which is applied as a whole.
    """

    def __init__(self, client: QdrantClient, collection: str, schema: Schema) -> None:
        """Use a collection that is there; `create` makes one."""
        self.schema = schema
        self.collection = collection
        self._client: QdrantClient | None = client

    @classmethod
    def create(cls, client: QdrantClient, collection: str, schema: Schema) -> ClientStore:
        """Make an empty collection with its payload indexes.

        Raises:
            StoreError: there is one of that name, or the server refuses.
        """
        store = cls(client, collection, schema)
        profile = PROFILES[schema.profile]
        store._call(
            client.create_collection,
            vectors_config={v.name: _dense(v) for v in schema.vectors if v.kind != "sparse"},
            sparse_vectors_config={
                v.name: models.SparseVectorParams(modifier=_modifier(v))
                for v in schema.vectors
                if v.kind == "sparse"
            },
            hnsw_config=models.HnswConfigDiff(
                m=profile.m,
                ef_construct=profile.ef_construct,
                full_scan_threshold=profile.full_scan_threshold,
            ),
            quantization_config=_quantization(schema),
        )
        if _is_remote(client):
            for key in INDEXED_KEYS:
                store._call(
                    client.create_payload_index, field_name=key, field_schema=models.PayloadSchemaType.KEYWORD
                )
        return store

    def add_vector(self, field: VectorField) -> None:
        """Add a named vector; see `vecloom.stores.Store`."""
        schema = grown(self.collection, self.schema, field)
        if schema is None:
            return
        made: models.SparseVectorNameConfig | models.DenseVectorNameConfig
        if field.kind == "sparse":
            made = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=_modifier(field)))
        else:
            made = models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(
                    size=dim_of(field),
                    distance=models.Distance.COSINE,
                    multivector_config=_multivector(field),
                )
            )
        self._call(self._opened().create_vector_name, vector_name=field.name, vector_name_config=made)
        self.schema = schema

    def upsert(self, points: Points) -> None:
        """Write whole points; see `vecloom.stores.Store`."""
        points = checked_points(self.schema, points)
        for rows in _batches(len(points)):
            batch = [
                models.PointStruct(id=points.ids[i], payload=dict(points.payloads[i]), vector=vector)
                for i, vector in _rows(points.vectors, rows)
            ]
            self._call(self._opened().upsert, points=batch, wait=True)

    def update_vectors(self, ids: Sequence[str], vectors: Mapping[str, Vectors]) -> None:
        """Set named vectors of existing points; see `vecloom.stores.Store`."""
        checked = checked_vectors(self.schema, ids, vectors)
        if not checked:
            return
        self._require(ids)
        for rows in _batches(len(ids)):
            batch = [models.PointVectors(id=ids[i], vector=vector) for i, vector in _rows(checked, rows)]
            self._call(self._opened().update_vectors, points=batch, wait=True)

    def update_payloads(self, ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Merge payload keys of existing points; see `vecloom.stores.Store`."""
        check_ids(ids)
        check_payloads(ids, payloads)
        self._require(ids)
        for rows in _batches(len(ids)):
            batch = [
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(payload=dict(payloads[i]), points=[ids[i]])
                )
                for i in rows
            ]
            self._call(self._opened().batch_update_points, update_operations=batch, wait=True)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> None:
        """Delete by id or by filter; see `vecloom.stores.Store`."""
        if (ids is None) == (where is None):
            raise StoreError("delete takes ids or a filter: exactly one of them")
        if ids is None:
            selector: Any = _condition(where)
        else:
            check_ids(ids)
            selector = list(ids)
        if ids is None or ids:
            self._call(self._opened().delete, points_selector=selector, wait=True)

    def search(
        self, legs: Sequence[Leg], where: Filter | None, limit: int, fields: Sequence[str]
    ) -> list[list[Scored]]:
        """One ranked list a leg; see `vecloom.stores.Store`."""
        if not legs:
            return []
        wanted = None if where is None else _condition(where)
        requests = [
            models.QueryRequest(
                query=_query_vector(checked_leg(self.schema, leg)),
                using=leg.name,
                filter=wanted,
                limit=limit,
                with_payload=_selected(fields),
                params=_parameters(self.schema),
            )
            for leg in legs
        ]
        return [
            _scored(found.points)
            for found in self._call(self._opened().query_batch_points, requests=requests)
        ]

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, vectors: Sequence[str] = ()
    ) -> list[Record]:
        """Points by id; see `vecloom.stores.Store`."""
        check_ids(ids)
        found = self._call(
            self._opened().retrieve,
            ids=list(ids),
            with_payload=_selected(fields),
            with_vectors=list(vectors) or False,
        )
        records = {one.id: one for one in map(_record, found)}
        return [records[point] for point in ids if point in records]

    def scroll(
        self,
        where: Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Points in the order of their ids; see `vecloom.stores.Store`."""
        wanted = None if where is None else _condition(where)

        def fetch(offset: Any, size: int) -> tuple[list[Record], Any]:
            found, following = self._call(
                self._opened().scroll,
                scroll_filter=wanted,
                limit=size,
                offset=offset,
                with_payload=_selected(fields),
                with_vectors=list(vectors) or False,
            )
            return [_record(one) for one in found], following

        return pages(fetch, after, limit)

    def count(self, where: Filter | None = None) -> int:
        """How many points, exactly; see `vecloom.stores.Store`."""
        wanted = None if where is None else _condition(where)
        return self._call(self._opened().count, count_filter=wanted, exact=True).count

    def facet(self, key: str, where: Filter | None = None) -> dict[str, int]:
        """Points by value of an indexed key; see `vecloom.stores.Store`."""
        wanted = None if where is None else _condition(where)
        found = self._call(
            self._opened().facet, key=key, facet_filter=wanted, limit=max(1, self.count()), exact=True
        )
        return {str(hit.value): hit.count for hit in found.hits}

    def finalize(self) -> None:
        """Nothing to do: the server answers a write once its log holds it."""
        self._opened()

    def close(self) -> None:
        """Let go of the client, which stays open."""
        self._client = None

    def _opened(self) -> QdrantClient:
        if self._client is None:
            raise StoreError(f"{self.collection} is closed; open it again")
        return self._client

    def _call(self, function: Callable[..., T], **arguments: Any) -> T:
        """Call the client, whose two modes raise ValueError (local) and ApiException (server)."""
        try:
            return function(collection_name=self.collection, **arguments)
        except (ApiException, ValueError) as error:
            said = " ".join(str(error).split())
            raise StoreError(f"{self.collection}: {said}") from error

    def _require(self, ids: Sequence[str]) -> None:
        there = {
            str(one.id) for one in self._call(self._opened().retrieve, ids=list(ids), with_payload=False)
        }
        refusal = missing_point(self.collection, ids, there)
        if refusal is not None:
            raise refusal


def _is_remote(client: QdrantClient) -> bool:
    """Local mode only warns when a payload index is made."""
    from qdrant_client.qdrant_remote import QdrantRemote

    return isinstance(client._client, QdrantRemote)


def _dense(field: VectorField) -> models.VectorParams:
    return models.VectorParams(
        size=dim_of(field), distance=models.Distance.COSINE, multivector_config=_multivector(field)
    )


def _multivector(field: VectorField) -> models.MultiVectorConfig | None:
    if field.kind != "multivector":
        return None
    return models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)


def _modifier(field: VectorField) -> models.Modifier | None:
    return models.Modifier.IDF if field.modifier == "idf" else None


def _quantization(schema: Schema) -> models.ScalarQuantization | None:
    if not PROFILES[schema.profile].quantised:
        return None
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=QUANTILE, always_ram=True
        )
    )


def _parameters(schema: Schema) -> models.SearchParams | None:
    if not PROFILES[schema.profile].quantised:
        return None
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    )


def _batches(count: int) -> Iterator[range]:
    for start in range(0, count, _BATCH):
        yield range(start, min(start + _BATCH, count))


def _rows(vectors: Mapping[str, Vectors], rows: range) -> Iterator[tuple[int, dict[str, Any]]]:
    for i in rows:
        yield i, {name: _plain(column, i) for name, column in vectors.items()}


def _plain(column: Vectors, i: int) -> Any:
    if isinstance(column, SparseRows):
        return _sparse(*column.row(i))
    return column[i].tolist()


def _sparse(indices: Any, values: Any) -> models.SparseVector:
    return models.SparseVector(indices=indices.tolist(), values=values.tolist())


def _condition(where: Filter | None) -> models.Filter:
    if where is None:
        return models.Filter()
    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in where.match.items()
    ]
    must += [models.HasVectorCondition(has_vector=name) for name in where.has]
    must_not: list[Any] = [models.HasVectorCondition(has_vector=name) for name in where.lacks]
    return models.Filter(must=must, must_not=must_not)


def _query_vector(leg: Leg) -> Any:
    return _sparse(*leg.vector) if isinstance(leg.vector, tuple) else leg.vector.tolist()


def _scored(found: Sequence[models.ScoredPoint]) -> list[Scored]:
    hits = [Scored(str(point.id), point.score, point.payload or {}) for point in found]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _selected(fields: Sequence[str] | None) -> bool | list[str]:
    return True if fields is None else (list(fields) or False)


def _record(found: models.Record) -> Record:
    vectors = found.vector if isinstance(found.vector, dict) else {}
    return Record(str(found.id), found.payload or {}, {name: _array(v) for name, v in vectors.items()})


def _array(vector: Any) -> Any:
    if isinstance(vector, models.SparseVector):
        order = np.argsort(vector.indices)
        indices, values = np.array(vector.indices, np.uint32), np.array(vector.values, np.float32)
        return indices[order], values[order]
    return np.array(vector, np.float32)
