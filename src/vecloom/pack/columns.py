"""Points as Arrow columns, and back. Importing this module loads pyarrow (some 400 ms)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from vecloom.errors import MissingExtraError, PackError, UsageError
from vecloom.pack.pages import measure_column
from vecloom.types import Points, SparseRows, VectorField, Vectors

try:
    import pyarrow as pa
    import pyarrow.compute as pc
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

#: Bytes of a row group in memory at the most: a window of texts, with a matrix for each.
_MOST_GROUP = 2 << 30

#: A group of so many bytes is read from however few bytes of the file; a larger one may have so many times
#: its bytes in the file. Matrices are written as they are, and texts are few. All groups together may have
#: more times the bytes of the file: a long document compresses well.
_SMALL_GROUP, _MOST_RATIO, _MOST_RATIO_OF_ALL = 64 << 20, 8, 100

#: Points of a row group, bytes of a footer and columns of all its row groups at the most.
_MOST_ROWS, _MOST_FOOTER, _MOST_COLUMNS = 1 << 17, 16 << 20, 100_000

_UUID = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"

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
    check_payload(table)
    columns = [table.column(name).to_pylist() for name in PAYLOAD]
    payloads = [dict(zip(PAYLOAD, row, strict=True)) for row in zip(*columns, strict=True)]
    fields = fields_of(table.schema)
    wanted = {field.name for field in fields} if names is None else set(names)
    vectors = {field.name: vectors_of(table, field) for field in fields if field.name in wanted}
    return Points(table.column("id").to_pylist(), payloads, vectors)


def check_payload(table: Table) -> None:
    """Refuse a table with a null where a text or a number belongs.

    Raises:
        PackError: it has one.
    """
    for name in ("id", *PAYLOAD):
        if name in table.column_names and (nulls := table.column(name).null_count):
            raise PackError(f"{nulls} points have no {name}")


def check_ids(table: Table) -> None:
    """Refuse a table with an id that is no UUID.

    Raises:
        PackError: it has one; the message names the first.
    """
    if "id" in table.column_names:
        ids = table.column("id")
        good = pc.match_substring_regex(ids, _UUID)
        if not (pc.all(good).as_py() or not len(ids)):
            raise PackError(
                f"has the id {pc.filter(ids, pc.invert(good))[0].as_py()!r:.80}, which is no UUID"
            )


def vectors_of(table: Table, field: VectorField) -> Vectors:
    """One named vector of all rows, as float32.

    Raises:
        PackError: a row lacks it.
    """
    column = table.column(field.name).combine_chunks()
    if column.null_count:
        raise PackError(f"{column.null_count} points lack the vector {field.name!r}")
    if _has_nulls(column):
        raise PackError(f"the vector {field.name!r} holds nulls")
    if field.kind == "sparse":
        lists = column.flatten()
        lengths = [_lengths(one) for one in lists]
        if not np.array_equal(*lengths):
            raise PackError(f"the vector {field.name!r} has other numbers of indices than of values")
        indptr = np.concatenate([[0], np.cumsum(lengths[0])]).astype(np.int64)
        indices, values = (one.flatten().to_numpy(zero_copy_only=False) for one in lists)
        _check_finite(field, values)
        return SparseRows(indptr, indices, values)
    if field.kind == "dense":
        return cast("NDArray[np.float32]", _matrix(column, field))
    rows: NDArray[np.float32] = _matrix(column.flatten(), field)
    return list(np.split(rows, np.cumsum(_lengths(column))[:-1]))


def _has_nulls(column: Column) -> bool:
    """True if any value of a nested column is null."""
    if column.null_count:
        return True
    if pa.types.is_struct(column.type):
        return any(map(_has_nulls, column.flatten()))
    return pa.types.is_nested(column.type) and _has_nulls(column.flatten())


def _check_finite(field: VectorField, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise PackError(f"the vector {field.name!r} holds NaN or infinity")


def _matrix(column: Column, field: VectorField) -> Any:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    _check_finite(field, flat)
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


def read_tables(
    file: Any, names: Sequence[str] | None = None, points: int | None = None, schema: Any = None
) -> Iterator[Table]:
    """The row groups of a Parquet file (a path, or a file to read), with these columns only (None: all).

    ``points``: how many there must be. ``schema``: of `schema_of`, whose columns and types the file must have
    (only packs of earlier versions have no ``defines``); None: any vectors. What a row group takes in memory
    is bounded before it is read.

    Raises:
        PackError: it is no Parquet file, a damaged one, or one that would take too much memory.
    """
    with ExitStack() as stack:
        if isinstance(file, Path):
            file = stack.enter_context(file.open("rb"))
        try:
            yield from _read_tables(file, names, points, schema)
        except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise PackError(f"cannot be read as Parquet ({reason:.300})") from error


def _read_tables(file: Any, names: Sequence[str] | None, points: int | None, wanted: Any) -> Iterator[Table]:
    size = _check_footer(file)
    limits = {"thrift_string_size_limit": _MOST_FOOTER, "thrift_container_size_limit": _MOST_COLUMNS}
    source = pq.ParquetFile(file, **limits)
    schema = source.schema_arrow
    _check_types(schema, wanted)
    said = source.metadata
    groups = [said.row_group(group) for group in range(said.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or max(rows, default=0) > _MOST_ROWS:
        raise PackError(f"has a group of {max(rows)} points, more than is ever written")
    if points is not None and sum(rows) != points:
        raise PackError(f"has {sum(rows)} points, not {points}")
    chosen = [name for name in schema.names if names is None or name in names]
    repeated: set[str] = set()
    memory = 0
    for group in groups:
        further, needed = _check_group(file, group, source.schema, chosen, size)
        repeated |= further
        memory += needed
    file.seek(0)
    source = pq.ParquetFile(file, metadata=said, read_dictionary=sorted(repeated), **limits)
    for group in range(len(groups)):
        table = source.read_row_group(group, columns=chosen)
        table.validate(full=True)
        memory += _check_texts(table)
        if memory > max(_SMALL_GROUP, _MOST_RATIO_OF_ALL * size):
            raise PackError(f"has {memory >> 20} MiB in {size >> 10} KiB, which is never written")
        yield _completed(_plain(table), names)


def _check_footer(file: Any) -> int:
    """Refuse a footer that is too large to be read; returns the bytes of the file."""
    size: int = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(8)[:4], "little")
    file.seek(0)
    if length > _MOST_FOOTER:
        raise PackError(f"has a footer of {length >> 20} MiB, more than is ever written")
    return size


def _check_types(schema: Any, wanted: Any) -> None:
    """Refuse columns that come twice, are missing, or have other types than are written."""
    if len(set(schema.names)) != len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise PackError(f"has the column {twice!r:.80} twice")
    kinds = {"id": _TEXT, **PAYLOAD} if wanted is None else {part.name: part.type for part in wanted}
    for name, kind in kinds.items():
        if name not in schema.names:
            if wanted is None or name == "defines":
                continue
            raise PackError(f"has no column {name!r}")
        if schema.field(name).type != kind:
            raise PackError(f"has the column {name!r} as {schema.field(name).type!s:.80}, not {kind}")
    further = [name for name in schema.names if wanted is not None and name not in kinds]
    if further:
        raise PackError(f"has the column {further[0]!r:.80}, which its manifest does not list")


def _check_group(
    file: Any, group: Any, schema: Any, chosen: Sequence[str], size: int
) -> tuple[set[str], int]:
    """Refuse a row group that takes too much memory; returns its texts with a dictionary, and the bytes."""
    arrow = schema.to_arrow_schema()
    texts = {name for name in chosen if arrow.field(name).type == _TEXT}
    repeated, memory, packed = set(), 0, 0
    for number in range(group.num_columns):
        column = group.column(number)
        name = column.path_in_schema
        if name not in texts and not any(name == one or name.startswith(f"{one}.") for one in chosen):
            continue
        found = measure_column(file, column, schema.column(number).length, size)
        if name in PAYLOAD or name == "id":
            if found.values != group.num_rows:
                raise PackError(f"has {found.values} values of {name!r} in {group.num_rows} points")
            if name in texts and found.has_dictionary:
                repeated.add(name)
        memory += found.memory
        packed += column.total_compressed_size
    _check_memory(memory, packed)
    return repeated, memory


def _check_memory(memory: int, packed: int) -> None:
    """Refuse what takes much memory out of few bytes, or more than is ever written."""
    if memory > _MOST_GROUP or memory > max(_SMALL_GROUP, _MOST_RATIO * packed):
        raise PackError(
            f"has a group of {memory >> 20} MiB in {max(packed, 1024) >> 10} KiB, which is never written"
        )


def _check_texts(table: Table) -> int:
    """Refuse dictionaries whose repeated texts take too much memory; returns the bytes of the texts."""
    memory = 0
    for name in table.column_names:
        column = table.column(name)
        if not pa.types.is_dictionary(column.type):
            continue
        for chunk in column.chunks:
            lengths = pc.take(pc.binary_length(chunk.dictionary), chunk.indices)
            memory += pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
    _check_memory(memory, 0)
    return memory


def _plain(table: Table) -> Table:
    """A table with its dictionaries as plain texts."""
    fields = [
        pa.field(part.name, _TEXT) if pa.types.is_dictionary(part.type) else part for part in table.schema
    ]
    return table.cast(pa.schema(fields))
