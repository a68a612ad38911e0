"""Points as Arrow columns, and back. Importing this module loads pyarrow (some 400 ms)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from vecloom.errors import MissingExtraError, PackError, UsageError
from vecloom.types import Points, SparseRows, VectorField, Vectors

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingExtraError("a pack", "pack") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: pyarrow carries no types.
Table: TypeAlias = Any
Column: TypeAlias = Any

_TEXT, _NUMBER = pa.string(), pa.int64()

#: The payload's columns, in the order of its keys.
PAYLOAD: Mapping[str, Any] = {
    "source": _TEXT,
    "path": _TEXT,
    "kind": _TEXT,
    "language": _TEXT,
    "start_line": _NUMBER,
    "end_line": _NUMBER,
    "start_byte": _NUMBER,
    "end_byte": _NUMBER,
    "breadcrumb": _TEXT,
    "header": _TEXT,
    "defines": _TEXT,
    "text": _TEXT,
    "chunk_hash": _TEXT,
    "document_hash": _TEXT,
}

#: Bytes of a row group at the most: a window of texts, with a matrix for each.
_MOST_GROUP = 2 << 30

#: Columns whose values come again and again.
_REPEATED = ["source", "path", "kind", "language", "breadcrumb", "document_hash"]


def schema_of(fields: Sequence[VectorField], half: bool = False) -> Any:
    """The Arrow schema of points with these vectors. ``half``: dense values as float16.

    Raises:
        UsageError: a vector is called like a key of the payload.
    """
    for field in fields:
        if field.name in PAYLOAD or field.name == "id":
            raise UsageError(f"a vector called {field.name!r} has no place in a pack; rename it in its row")
    vectors = {field.name: _type_of(field, half) for field in fields}
    columns = {"id": _TEXT, **PAYLOAD, **vectors}
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


def _type_of(field: VectorField, half: bool) -> Any:
    number = pa.float16() if half else pa.float32()
    if field.kind == "sparse":
        return pa.struct([("indices", pa.list_(pa.uint32())), ("values", pa.list_(pa.float32()))])
    vector = pa.list_(number, field.dim)
    return pa.list_(vector) if field.kind == "multivector" else vector


def fields_of(schema: Any) -> tuple[VectorField, ...]:
    """The vectors that an Arrow schema of `schema_of` holds; modifiers are not told by it."""
    return tuple(_field(part) for part in schema if part.name not in PAYLOAD and part.name != "id")


def _field(part: Any) -> VectorField:
    if pa.types.is_struct(part.type):
        return VectorField(part.name, "sparse")
    if pa.types.is_fixed_size_list(part.type):
        return VectorField(part.name, "dense", part.type.list_size)
    if pa.types.is_list(part.type) and pa.types.is_fixed_size_list(part.type.value_type):
        return VectorField(part.name, "multivector", part.type.value_type.list_size)
    raise PackError(f"the column {part.name!r} is no vector: {part.type}")


def table_of(points: Points, schema: Any) -> Table:
    """Points as a table of ``schema``; a vector that they do not have is null in all of them."""
    arrays = []
    for part in schema:
        if part.name == "id":
            arrays.append(pa.array(points.ids, part.type))
        elif part.name == "defines":  # which points of earlier versions lack
            arrays.append(pa.array([payload.get("defines", "") for payload in points.payloads], part.type))
        elif part.name in PAYLOAD:
            arrays.append(pa.array([payload[part.name] for payload in points.payloads], part.type))
        elif part.name in points.vectors:
            arrays.append(vector_column(points.vectors[part.name], part.type))
        else:
            arrays.append(pa.nulls(len(points), part.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def vector_column(vectors: Vectors, kind: Any) -> Column:
    """Named vectors as an Arrow column of the type ``kind``."""
    if isinstance(vectors, SparseRows):
        offsets = pa.array(vectors.indptr.astype(np.int32))
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(part)) for part in (vectors.indices, vectors.values)
        ]
        return pa.StructArray.from_arrays(lists, fields=list(kind))
    if isinstance(vectors, list):
        offsets = np.cumsum([0, *(len(matrix) for matrix in vectors)], dtype=np.int32)
        rows = np.concatenate(vectors) if vectors else np.zeros((0, kind.value_type.list_size), np.float32)
        return pa.ListArray.from_arrays(pa.array(offsets), vector_column(rows, kind.value_type), type=kind)
    flat = np.ascontiguousarray(vectors).reshape(-1)
    if pa.types.is_float16(kind.value_type):
        flat = flat.astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)


def points_of(table: Table, names: Iterable[str] | None = None) -> Points:
    """A table's points with the vectors of ``names`` (None: all), which every one of them has.

    Raises:
        PackError: a column is missing or of another type, or a point lacks a vector.
    """
    missing = [name for name in ("id", *PAYLOAD) if name not in table.column_names]
    if missing:
        raise PackError(f"there is no column {missing[0]!r}; the file was not written by vecloom")
    columns = [table.column(name).to_pylist() for name in PAYLOAD]
    payloads = [dict(zip(PAYLOAD, row, strict=True)) for row in zip(*columns, strict=True)]
    fields = fields_of(table.schema)
    wanted = {field.name for field in fields} if names is None else set(names)
    vectors = {field.name: vectors_of(table, field) for field in fields if field.name in wanted}
    return Points(table.column("id").to_pylist(), payloads, vectors)


def vectors_of(table: Table, field: VectorField) -> Vectors:
    """One named vector of all rows, as float32.

    Raises:
        PackError: a row lacks it.
    """
    column = table.column(field.name).combine_chunks()
    if column.null_count:
        raise PackError(f"{column.null_count} points lack the vector {field.name!r}")
    if field.kind == "sparse":
        lists = column.flatten()
        indptr = np.concatenate([[0], np.cumsum(_lengths(lists[0]))]).astype(np.int64)
        indices, values = (one.flatten().to_numpy(zero_copy_only=False) for one in lists)
        return SparseRows(indptr, indices, values)
    if field.kind == "dense":
        return cast("NDArray[np.float32]", _matrix(column, field))
    rows: NDArray[np.float32] = _matrix(column.flatten(), field)
    return list(np.split(rows, np.cumsum(_lengths(column))[:-1]))


def _matrix(column: Column, field: VectorField) -> Any:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32, copy=False).reshape(-1, field.dim or 1)


def _lengths(lists: Column) -> Any:
    return lists.value_lengths().to_numpy(zero_copy_only=False)


def _completed(table: Table, names: Sequence[str] | None) -> Table:
    """A table with the column that packs of earlier versions lack, where it is asked for."""
    if "defines" in table.column_names or "header" not in table.column_names:
        return table
    if names is not None and "defines" not in names:
        return table
    empty = pa.array([""] * len(table), _TEXT)
    return table.add_column(table.column_names.index("header") + 1, "defines", empty)


def with_vectors(
    table: Table, fields: Sequence[VectorField], vectors: Mapping[str, Vectors], half: bool
) -> Table:
    """A table with further vectors behind those that it has."""
    for field in fields:
        kind = _type_of(field, half)
        table = table.append_column(pa.field(field.name, kind), vector_column(vectors[field.name], kind))
    return table


def joined(tables: Sequence[Table]) -> Table:
    """Tables of one schema, one behind the other."""
    return pa.concat_tables(tables)


class TableWriter:
    """Writes tables of one schema to a Parquet file, a row group each; equal tables give equal bytes."""

    def __init__(self, file: Any, schema: Any) -> None:
        self.schema = schema
        self.rows = 0
        codecs = dict.fromkeys(("id", *PAYLOAD), "ZSTD")
        codecs |= {leaf: "NONE" for field in fields_of(schema) for leaf in _leaves(field)}
        self._writer = pq.ParquetWriter(
            file, schema, compression=codecs, use_dictionary=_REPEATED, write_statistics=False
        )

    def write(self, table: Table) -> None:
        """Write a row group; the table's columns may stand in any order, and more than are written."""
        table = table.select(self.schema.names)
        self.rows += table.num_rows
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def _leaves(field: VectorField) -> list[str]:
    """What Parquet calls the columns of numbers of a vector, which no codec makes much smaller."""
    if field.kind == "sparse":
        return [f"{field.name}.{part}.list.element" for part in ("indices", "values")]
    return [f"{field.name}{'.list.element' * (2 if field.kind == 'multivector' else 1)}"]


def read_tables(file: Any, names: Sequence[str] | None = None, points: int | None = None) -> Iterator[Table]:
    """The row groups of a Parquet file, with these columns only (None: all).

    ``points``: how many there must be.

    Raises:
        PackError: it is no Parquet file, a damaged one, or one that would take too much memory.
    """
    try:
        source = pq.ParquetFile(file)
        groups = [source.metadata.row_group(group) for group in range(source.num_row_groups)]
        rows = sum(group.num_rows for group in groups)
        if points is not None and rows != points:
            raise PackError(f"has {rows} points, not {points}")
        for group, said in enumerate(groups):
            if said.total_byte_size > _MOST_GROUP:
                size = said.total_byte_size >> 20
                raise PackError(f"has a group of {size} MiB, more than is ever written")
            yield _completed(
                source.read_row_group(group, columns=None if names is None else list(names)), names
            )
    except (pa.ArrowException, OSError) as error:
        raise PackError(f"cannot be read as Parquet ({' '.join(str(error).split())})") from error
