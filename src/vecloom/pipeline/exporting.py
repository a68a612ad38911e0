"""Points of a pack or an index as plain files: JSON Lines, Parquet, NumPy; streamed, whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecloom.durable import written
from vecloom.errors import MissingExtraError, PackError, UsageError
from vecloom.pack.columns import TableWriter, schema_of, table_of
from vecloom.pack.reading import Pack
from vecloom.pipeline.home import Home
from vecloom.pipeline.reuse import stacked
from vecloom.types import Points, Record, SparseRows, VectorField, Vectors

try:
    import orjson
except ImportError as error:
    raise MissingExtraError("an export", "pack") from error

FormatName: TypeAlias = Literal["jsonl", "parquet", "numpy"]

#: Points read from an index in one visit; fewer where each has a matrix.
_VISIT_POINTS, _MATRIX_POINTS = 500, 20

_is_file_name = re.compile(r"\w[\w.-]*").fullmatch


def points_of_pack(pack: Pack, names: Sequence[str]) -> Iterator[Points]:
    """The points of a pack with the vectors of ``names``, in its order."""
    for shard in pack.manifest.shards:
        yield from pack.points(shard, names)


def points_of_index(home: Home, fields: Sequence[VectorField]) -> Iterator[Points]:
    """The points of an index with those vectors of ``fields`` that they have, in the order of their ids.

    Those of one batch have the same vectors.
    """
    names = [field.name for field in fields]
    size = _MATRIX_POINTS if any(field.kind == "multivector" for field in fields) else _VISIT_POINTS
    after: str | None = None
    while True:
        with home.access.open("export") as store:
            page = list(store.scroll(None, None, names, after, size))
        yield from _alike(page, names)
        if len(page) < size:
            return
        after = page[-1].id


def _alike(page: Sequence[Record], names: Sequence[str]) -> Iterator[Points]:
    """Records in runs of those that have the same vectors."""
    first = 0
    for last in range(1, len(page) + 1):
        if last == len(page) or page[last].vectors.keys() != page[first].vectors.keys():
            run = page[first:last]
            have = [name for name in names if name in run[0].vectors]
            vectors = {name: stacked([record.vectors[name] for record in run]) for name in have}
            yield Points([record.id for record in run], [record.payload for record in run], vectors)
            first = last


def write_jsonl(points: Iterable[Points], out: Path, tell: Callable[[int], None]) -> int:
    """One REST PointStruct a line: id, vector (by name), payload; returns how many."""
    count = 0
    with written(out) as file:
        for batch in points:
            for i, point in enumerate(batch.ids):
                vector = {name: _json_vector(column, i) for name, column in batch.vectors.items()}
                line = {"id": point, "vector": vector, "payload": batch.payloads[i]}
                file.write(orjson.dumps(line, option=_OPTIONS))
            count += len(batch)
            tell(count)
    return count


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def _json_vector(column: Vectors, i: int) -> Any:
    if isinstance(column, SparseRows):
        indices, values = column.row(i)
        return {"indices": indices, "values": values}
    return np.ascontiguousarray(column[i])


def write_parquet(
    points: Iterable[Points], out: Path, fields: Sequence[VectorField], tell: Callable[[int], None]
) -> int:
    """A Parquet file of the columns that a pack has; returns how many points."""
    with written(out) as file:
        writer = TableWriter(file, schema_of(fields))
        for batch in points:
            writer.write(table_of(batch, writer.schema))
            tell(writer.rows)
        writer.close()
    return writer.rows


def write_numpy(
    points: Iterable[Points], out: Path, fields: Sequence[VectorField], tell: Callable[[int], None]
) -> int:
    """A folder of .npy files; returns how many points.

    ``ids.npy`` [n], and by vector name: dense ``NAME.npy`` float32 [n, dim]; sparse ``NAME.indptr.npy`` int64
    [n + 1], ``NAME.indices.npy`` uint32 and ``NAME.values.npy`` float32; of a multivector
    ``NAME.npy`` [tokens, dim] and ``NAME.indptr.npy``. ``payloads.jsonl``: one payload a line.

    Raises:
        UsageError: ``out`` is there and not empty, or the name of a vector is none for a file.
        PackError: a point lacks a vector.
    """
    for field in fields:  # a pack's names may be anybody's
        if _is_file_name(field.name) is None:
            raise UsageError(f"the vector {field.name!r} gives no name of a file; leave it out with --using")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        count = _write_arrays(points, part, fields, tell)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except BaseException:
        shutil.rmtree(part)
        raise
    return count


def _write_arrays(
    points: Iterable[Points], part: Path, fields: Sequence[VectorField], tell: Callable[[int], None]
) -> int:
    count = 0
    with ExitStack() as stack:
        arrays = _Arrays(part, stack)
        payloads = stack.enter_context((part / "payloads.jsonl").open("wb"))
        for field in fields:
            arrays.begin(field)
        for batch in points:
            lacking = [field.name for field in fields if field.name not in batch.vectors]
            if lacking:
                raise PackError(f"{batch.ids[0]} lacks the vector {lacking[0]!r}; leave it out with --using")
            arrays.append("ids", np.array(batch.ids, "U36"))
            payloads.writelines(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in batch.payloads)
            for field in fields:
                arrays.append_vectors(field.name, batch.vectors[field.name])
            count += len(batch)
            tell(count)
    return count


class _Arrays:
    """Arrays of unknown length that grow in .npy files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._files: dict[str, _Growing] = {}
        self._ends: dict[str, int] = {}
        self._open("ids", np.dtype("U36"), ())

    def begin(self, field: VectorField) -> None:
        """The files of a vector."""
        float32, row = np.dtype(np.float32), (field.dim or 0,)
        if field.kind == "dense":
            self._open(field.name, float32, row)
            return
        self._open(f"{field.name}.indptr", np.dtype(np.int64), ())
        self.append(f"{field.name}.indptr", np.zeros(1, np.int64))
        self._ends[field.name] = 0
        if field.kind == "multivector":
            self._open(field.name, float32, row)
        else:
            self._open(f"{field.name}.indices", np.dtype(np.uint32), ())
            self._open(f"{field.name}.values", float32, ())

    def append_vectors(self, name: str, vectors: Vectors) -> None:
        """Further rows of a vector."""
        if isinstance(vectors, SparseRows):
            self._append_ends(name, vectors.indptr[1:])
            self.append(f"{name}.indices", vectors.indices)
            self.append(f"{name}.values", vectors.values)
        elif isinstance(vectors, list):
            self._append_ends(name, np.cumsum([len(matrix) for matrix in vectors], dtype=np.int64))
            self.append(name, np.concatenate(vectors))
        else:
            self.append(name, vectors)

    def _append_ends(self, name: str, ends: NDArray[np.int64]) -> None:
        self.append(f"{name}.indptr", ends + self._ends[name])
        self._ends[name] += int(ends[-1])

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Further rows of a file."""
        self._files[name].append(rows)

    def _open(self, name: str, dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        file = self._stack.enter_context((self._folder / f"{name}.npy").open("wb"))
        growing = _Growing(file, dtype, row)
        self._files[name] = growing
        self._stack.callback(growing.finish)


class _Growing:
    """A .npy file that is written row by row; NumPy leaves room in the header for the number of rows."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        self._file, self._dtype, self._row = file, dtype, row
        self._rows = 0
        self._write_header()

    def append(self, rows: NDArray[Any]) -> None:
        """Further rows."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def finish(self) -> None:
        """Write the number of rows."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        said = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._row),
        }
        np.lib.format.write_array_header_1_0(self._file, said)


def export_to(
    form: FormatName,
    points: Iterable[Points],
    out: Path,
    fields: Sequence[VectorField],
    tell: Callable[[int], None],
) -> int:
    """Write points in a format; returns how many."""
    writers: Mapping[FormatName, Callable[[], int]] = {
        "jsonl": lambda: write_jsonl(points, out, tell),
        "parquet": lambda: write_parquet(points, out, fields, tell),
        "numpy": lambda: write_numpy(points, out, fields, tell),
    }
    if form not in writers:
        raise UsageError(f"no format is called {form!r}; there are {', '.join(writers)}")
    return writers[form]()
