"""vecloom's nouns in the words of qdrant-client, and back. Pure translation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from vecloom.engine import spans
from vecloom.errors import StoreError
from vecloom.stores.empty import KEY, is_sparse
from vecloom.stores.shared import OVERSAMPLING, PROFILES, QUANTILE, Profile, dim_of
from vecloom.types import Filter, Leg, Record, Schema, Scored, SparseRows, VectorField, Vectors

#: Bytes of a request at the most, as it is reckoned here, and points: the server refuses more than 32 MiB.
REQUEST_BYTES = 12 << 20
REQUEST_POINTS = 256

#: Points that are asked for at a time without their vectors.
ASKED_POINTS = 2000

#: Bytes of JSON: of a float32 written as a double, of an index, of a point's punctuation and keys.
_FLOAT_JSON, _INDEX_JSON, _POINT_JSON = 22, 12, 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """What requests to a collection must keep to.

    ``max_limit``: the most points or values of one answer; None without a limit. ``exact``: whether exact
    counts are allowed. ``marked``: whether payloads may name empty vectors: an earlier version did not, and
    made no index of the key.
    """

    max_limit: int | None = None
    exact: bool = True
    marked: bool = True

    def limit(self, wanted: int) -> int:
        """The number to ask for where ``wanted`` are wanted."""
        return wanted if self.max_limit is None else min(wanted, self.max_limit)


def rules_of(info: models.CollectionInfo, *, is_remote: bool) -> Rules:
    """The rules of a collection; a client without a server has no payload indexes."""
    marked = not is_remote or KEY in (info.payload_schema or {})
    strict = info.config.strict_mode_config
    if strict is None or not strict.enabled:
        return Rules(marked=marked)
    return Rules(strict.max_query_limit, strict.search_allow_exact is not False, marked)


def settings_of(schema: Schema) -> dict[str, Any]:
    """What `create_collection` takes for a schema and its profile."""
    profile = PROFILES[schema.profile]
    return {
        "vectors_config": {v.name: _dense(v) for v in schema.vectors if v.kind != "sparse"},
        "sparse_vectors_config": {
            v.name: models.SparseVectorParams(modifier=_modifier(v))
            for v in schema.vectors
            if v.kind == "sparse"
        },
        "hnsw_config": models.HnswConfigDiff(
            m=profile.m,
            ef_construct=profile.ef_construct,
            full_scan_threshold=profile.full_scan_threshold,
        ),
        "quantization_config": _quantization(profile),
    }


def schema_of(where: str, config: models.CollectionConfig) -> Schema:
    """The schema of a collection that is there.

    Raises:
        StoreError: an unnamed vector, or one that is not compared by cosine.
    """
    dense = config.params.vectors or {}
    if not isinstance(dense, dict):
        raise StoreError(f"{where} has one vector without a name; vecloom needs named ones: take another")
    fields = [_field(where, name, params) for name, params in dense.items()]
    for name, sparse in (config.params.sparse_vectors or {}).items():
        fields.append(VectorField(name, "sparse", modifier=_modifier_of(sparse)))
    quantised = config.quantization_config is not None
    return Schema(tuple(fields), "v5" if quantised else "default")


def _modifier_of(sparse: models.SparseVectorParams) -> Literal["idf"] | None:
    return "idf" if sparse.modifier == models.Modifier.IDF else None


def _field(where: str, name: str, params: models.VectorParams) -> VectorField:
    if params.distance != models.Distance.COSINE:
        raise StoreError(f"{where}: {name!r} is compared by {params.distance.value}, not by cosine")
    return VectorField(name, "multivector" if params.multivector_config else "dense", params.size)


def added(field: VectorField) -> models.SparseVectorNameConfig | models.DenseVectorNameConfig:
    """A further named vector of a collection."""
    if field.kind == "sparse":
        return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=_modifier(field)))
    return models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(
            size=dim_of(field),
            distance=models.Distance.COSINE,
            multivector_config=_multivector(field),
        )
    )


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


def _quantization(profile: Profile) -> models.ScalarQuantization | None:
    if not profile.quantised:
        return None
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=QUANTILE, always_ram=True
        )
    )


def parameters(schema: Schema) -> models.SearchParams | None:
    """How a schema's profile is searched."""
    if not PROFILES[schema.profile].quantised:
        return None
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    )


def requests(sizes: NDArray[np.int64]) -> Iterator[range]:
    """Points of these sizes in requests that a server takes."""
    return spans(sizes, REQUEST_POINTS, REQUEST_BYTES)


def json_sizes(
    count: int, vectors: Mapping[str, Vectors], payloads: Sequence[Mapping[str, Any]] = ()
) -> NDArray[np.int64]:
    """Bytes of JSON that each of ``count`` points takes, reckoned, and rather too many than too few."""
    sizes = np.full(count, _POINT_JSON, np.int64)
    for column in vectors.values():
        if isinstance(column, SparseRows):
            sizes += np.diff(column.indptr) * (_FLOAT_JSON + _INDEX_JSON)
        elif isinstance(column, list):
            sizes += [one.size * _FLOAT_JSON for one in column]
        else:
            sizes += column.shape[1] * _FLOAT_JSON
    for i, payload in enumerate(payloads):
        # A character takes four bytes of UTF-8 at the most, a control character six as an escape.
        sizes[i] += 4 * sum([len(value) for value in payload.values() if type(value) is str])
    return sizes


def rows(vectors: Mapping[str, Vectors], chosen: range) -> Iterator[tuple[int, dict[str, Any]]]:
    """The chosen points' numbers and vectors, without empty ones."""
    for i in chosen:
        yield (
            i,
            {
                name: _plain(column, i)
                for name, column in vectors.items()
                if not isinstance(column, SparseRows) or column.indptr[i] < column.indptr[i + 1]
            },
        )


def _plain(column: Vectors, i: int) -> Any:
    if isinstance(column, SparseRows):
        return _sparse(*column.row(i))
    return column[i].tolist()


def _sparse(indices: Any, values: Any) -> models.SparseVector:
    return models.SparseVector(indices=indices.tolist(), values=values.tolist())


def condition(schema: Schema, where: Filter | None, marked: bool = True) -> models.Filter:
    """A filter; of all points where there is none.

    ``marked``: whether payloads may name empty vectors (see `vecloom.stores.empty`).
    """
    if where is None:
        return models.Filter()

    def conditions(name: str) -> list[Any]:
        """Conditions of which one holds where a point has the vector."""
        had: list[Any] = [models.HasVectorCondition(has_vector=name)]
        if marked and is_sparse(schema, name):
            had.append(models.FieldCondition(key=KEY, match=models.MatchAny(any=[name])))
        return had

    must: list[Any] = [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in where.match.items()
    ]
    must += [models.Filter(should=conditions(name)) for name in where.has]
    must_not: list[Any] = [one for name in where.lacks for one in conditions(name)]
    must_not += [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in where.unless.items()
    ]
    return models.Filter(must=must, must_not=must_not)


def query_vector(leg: Leg) -> Any:
    """A leg's vector."""
    return _sparse(*leg.vector) if isinstance(leg.vector, tuple) else leg.vector.tolist()


def scored(found: Sequence[models.ScoredPoint]) -> list[Scored]:
    """A leg's hits, best first, equal ones by id."""
    hits = [Scored(str(point.id), point.score, point.payload or {}) for point in found]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def selected(fields: Sequence[str] | None) -> bool | list[str]:
    """Which payload fields are asked for."""
    return True if fields is None else (list(fields) or False)


def record(found: models.Record) -> Record:
    """A point read back."""
    vectors = found.vector if isinstance(found.vector, dict) else {}
    return Record(str(found.id), found.payload or {}, {name: _array(v) for name, v in vectors.items()})


def _array(vector: Any) -> Any:
    if isinstance(vector, models.SparseVector):
        order = np.argsort(vector.indices)
        indices, values = np.array(vector.indices, np.uint32), np.array(vector.values, np.float32)
        return indices[order], values[order]
    return np.array(vector, np.float32)
