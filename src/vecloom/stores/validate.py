"""What a store checks before an engine sees it.

The engines take NaN, zero vectors and duplicate indices without a word, and an operation that they refuse
halfway stays half applied in their log. So a write is checked as a whole, or not begun.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vecloom.errors import InvalidVectorError, StoreError
from vecloom.types import Leg, Points, Schema, SparseRows, VectorField, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float32]
    BadRow: TypeAlias = Callable[[int, str], InvalidVectorError]

#: Values that no engine holds exactly are refused instead of rounded.
_INTEGERS = range(-(2**63), 2**63)

_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def checked_points(schema: Schema, points: Points) -> tuple[Points, int]:
    """The points with arrays of the exact types that engines take, and how many characters payloads have.

    Raises:
        StoreError: ids that are no UUIDs or come twice, payloads that are not JSON, unequal columns.
        InvalidVectorError: vectors that `checked_vectors` refuses.
    """
    if len(points.payloads) != len(points.ids):
        raise StoreError(f"{len(points.ids)} ids came with {len(points.payloads)} payloads; give one each")
    vectors = checked_vectors(schema, points.ids, points.vectors)
    size = check_payloads(points.ids, points.payloads)
    return Points(points.ids, points.payloads, vectors), size


def checked_vectors(schema: Schema, ids: Sequence[str], vectors: Mapping[str, Vectors]) -> dict[str, Vectors]:
    """The named columns as float32 [n, dim], CSR triples, or n float32 [tokens, dim].

    An empty sparse row is valid: the point has the vector, without a term.

    Raises:
        StoreError: ids that are no UUIDs or come twice.
        InvalidVectorError: a name or kind that the schema lacks, a wrong number of rows or dimensions, NaN or
            infinity, a dense vector whose float32 norm is 0 or overflows, sparse indices that do not rise.
    """
    check_ids(ids)
    checked: dict[str, Vectors] = {}
    for name, column in vectors.items():
        field = schema.field(name)
        if field is None:
            known = ", ".join(v.name for v in schema.vectors) or "none"
            raise InvalidVectorError(f"the store has no vector {name!r}; it has {known}")
        checked[name] = _checked_column(field, ids, column)
    return checked


def check_ids(ids: Sequence[str]) -> None:
    """Refuse ids that are not UUIDs in canonical form (lower case, hyphens), and ids that come twice."""
    for point in ids:
        if not isinstance(point, str) or _is_uuid(point) is None:
            raise StoreError(f"{point!r} is no point id; ids are UUIDs in lower case with hyphens")
    if len(set(ids)) != len(ids):
        twice = next(point for i, point in enumerate(ids) if point in ids[:i])
        raise StoreError(f"the id {twice} comes twice in one write; write it once")


def check_payloads(ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> int:
    """Refuse payloads that JSON cannot carry: other types, NaN, lone surrogates, integers beyond 64 bits.

    Returns how many characters their texts have, about.
    """
    if len(payloads) != len(ids):
        raise StoreError(f"{len(ids)} ids came with {len(payloads)} payloads; give one each")
    good: set[object] = set()  # keys come again and again
    size = 0
    for point, payload in zip(ids, payloads, strict=True):
        for key, value in payload.items():
            if key in good:
                kind = type(value)
                if kind is str and value.isascii():
                    size += len(value)
                    continue
                if kind is int and value in _INTEGERS:
                    continue
            if not (isinstance(key, str) and _is_json(key) and _is_json(value)):
                raise StoreError(
                    f"the payload of {point} holds {key!r}: {value!r:.80}, which is not JSON; "
                    f"give text, numbers, booleans, None, lists or dicts of them"
                )
            good.add(key)
            size += len(value) if isinstance(value, str) else 0
    return size


def checked_leg(schema: Schema, leg: Leg) -> Leg:
    """The leg with a float32 array or (uint32 indices, float32 values); refused as a stored row would be."""
    field = schema.field(leg.name)
    if field is None:
        known = ", ".join(v.name for v in schema.vectors) or "none"
        raise InvalidVectorError(f"the store has no vector {leg.name!r}; it has {known}")
    column: Vectors
    if isinstance(leg.vector, tuple):
        indices, values = leg.vector
        column = SparseRows(np.array([0, len(indices)]), indices, values)
    elif field.kind == "multivector":
        column = [leg.vector]
    else:
        column = np.asarray(leg.vector)[None]
    checked = _checked_column(field, ("the query",), column)
    if isinstance(checked, SparseRows):
        return Leg(leg.name, (checked.indices, checked.values))
    return Leg(leg.name, checked[0])


def _checked_column(field: VectorField, ids: Sequence[str], column: Vectors) -> Vectors:
    def bad(row: int, what: str) -> InvalidVectorError:
        return InvalidVectorError(f"the vector {field.name!r} of {ids[row]} {what}")

    rows = len(column)
    if rows != len(ids):
        raise InvalidVectorError(f"{len(ids)} ids came with {rows} rows of {field.name!r}; give one each")
    if isinstance(column, SparseRows) != (field.kind == "sparse"):
        raise InvalidVectorError(f"{field.name!r} is {field.kind} and takes no {type(column).__name__}")
    if isinstance(column, SparseRows):
        return _checked_sparse(column, bad)
    if field.kind == "multivector":
        return [
            _checked_multivector(np.asarray(one, np.float32), field, i, bad) for i, one in enumerate(column)
        ]
    return _checked_dense(np.ascontiguousarray(column, np.float32), field, bad)


def _checked_dense(matrix: Matrix, field: VectorField, bad: BadRow) -> Matrix:
    if matrix.ndim != 2 or (len(matrix) and matrix.shape[1] != field.dim):
        shape = "x".join(map(str, matrix.shape))
        raise InvalidVectorError(f"{field.name!r} takes {field.dim} dimensions, not an array of {shape}")
    wrong = _unusable(matrix)
    if wrong.size:
        raise bad(int(wrong[0]), "is zero or not finite; encode its text again")
    return matrix


def _checked_multivector(matrix: Matrix, field: VectorField, row: int, bad: BadRow) -> Matrix:
    if matrix.ndim != 2 or matrix.shape[1] != field.dim or not len(matrix):
        raise bad(row, f"has the shape {matrix.shape}; it takes one or more rows of {field.dim}")
    if _unusable(matrix).size:
        raise bad(row, "holds a row that is zero or not finite; encode its text again")
    return matrix


def _unusable(matrix: Matrix) -> NDArray[np.int64]:
    """Rows without a direction. One pass: the squared norm is 0, NaN or infinite exactly for those."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.einsum("ij,ij->i", matrix, matrix)
    return np.flatnonzero(~((norms > 0) & np.isfinite(norms)))


def _checked_sparse(rows: SparseRows, bad: BadRow) -> SparseRows:
    indptr = np.asarray(rows.indptr, np.int64)
    lengths = np.diff(indptr)
    given = np.asarray(rows.indices)
    values = np.ascontiguousarray(rows.values, np.float32)
    if indptr[0] != 0 or indptr[-1] != len(given) or len(given) != len(values) or (lengths < 0).any():
        raise InvalidVectorError(
            f"CSR triples that do not fit: indptr from {indptr[0]} to {indptr[-1]}, {len(given)} indices, "
            f"{len(values)} values"
        )

    def row_of(position: int) -> int:
        return int(np.searchsorted(indptr, position, side="right")) - 1

    if given.dtype != np.uint32:
        outside = np.flatnonzero((given < 0) | (given > 2**32 - 1))
        if outside.size:
            raise bad(row_of(int(outside[0])), f"has the index {given[outside[0]]}; indices are uint32")
    indices = np.ascontiguousarray(given, np.uint32)
    infinite = np.flatnonzero(~np.isfinite(values))
    if infinite.size:
        raise bad(row_of(int(infinite[0])), "holds NaN or infinity; encode its text again")
    falls = indices[1:] <= indices[:-1]
    starts = indptr[1:-1]
    falls[starts[(starts > 0) & (starts < len(indices))] - 1] = False
    if falls.any():
        where = int(np.argmax(falls)) + 1
        raise bad(row_of(where), f"has index {indices[where]} out of order; sort them, each once")
    return SparseRows(indptr, indices, values)


def _is_json(value: object) -> bool:
    kind = type(value)
    if kind is str:
        return _is_unicode(str(value))
    if kind is bool or value is None:
        return True
    if isinstance(value, int):
        return kind is int and value in _INTEGERS
    if isinstance(value, float):
        return kind is float and math.isfinite(value)
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(key) and _is_json(one) for key, one in value.items())
    return False


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
