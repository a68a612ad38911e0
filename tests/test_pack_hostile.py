"""Packs that others made: what vecloom would not write is refused before anything of the target changes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from commands import Vecloom
from stored import contents
from vecloom import carry
from vecloom.config import Config
from vecloom.errors import PackError, VecloomError
from vecloom.index import Index
from vecloom.pack.columns import PAYLOAD, TableWriter, read_tables, schema_of, table_of
from vecloom.pack.files import FolderFiles, sha256_of
from vecloom.pack.manifest import load_pack_manifest
from vecloom.types import Points, SparseRows, VectorField, VectorKind, Vectors

Change: TypeAlias = Callable[[Any], Any]

#: Bytes above what an empty run has that a process may take to refuse a pack.
MOST_MEMORY = 300 << 20


@pytest.fixture(scope="module")
def pack_of_two(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vecloom.config import load_config

    home = tmp_path_factory.mktemp("packs")
    config = load_config(
        environ={
            "VECLOOM_CONFIG": str(tiny_home / "config.toml"),
            "VECLOOM_DATA_DIR": str(home / "data"),
            "VECLOOM_CACHE_DIR": str(tiny_home / "cache"),
        }
    )
    for name in ("tree", "other"):
        (home / name).mkdir()
        (home / name / "a.md").write_text("# Looms\n\nThe shuttle flies.\n", "utf-8")
        (home / name / "b.md").write_text("# Reeds\n\nThe reed beats.\n", "utf-8")
    carry.embed(home / "pack", home / "tree", home / "other", config=config)
    return home / "pack"


@pytest.fixture
def pack(pack_of_two: Path, tmp_path: Path) -> Path:
    (tmp_path / "pack").mkdir()
    for path in pack_of_two.iterdir():
        if path.is_file():
            (tmp_path / "pack" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "pack"


def rewrite(pack: Path, change: Change, **options: Any) -> None:
    """Change the table of the first shard, and list the shard as it then is."""
    manifest = load_pack_manifest(FolderFiles(pack))
    shard, *others = manifest.shards
    path = pack / shard.name
    table = change(pq.read_table(path))
    with pq.ParquetWriter(
        path, table.schema, dictionary_pagesize_limit=1 << 30, write_statistics=False, **options
    ) as writer:
        for batch in table.to_batches():  # all in one row group
            writer.write_batch(batch)
    with path.open("rb") as file:
        shard = replace(shard, points=len(table), bytes=path.stat().st_size, sha256=sha256_of(file))
    replace(manifest, shards=(shard, *others)).save(pack)


def set_column(table: Any, name: str, values: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, values)


def set_first(name: str, value: Any) -> Change:
    """A change of one value of a column of texts or numbers."""

    def change(table: Any) -> Any:
        values = table.column(name).to_pylist()
        kind = table.schema.field(name).type
        return set_column(table, name, pa.array([value, *values[1:]], kind))

    return change


def cast(name: str, kind: Any) -> Change:
    return lambda table: set_column(table, name, table.column(name).cast(kind))


def numbers_for_text(table: Any) -> Any:
    return set_column(table, "text", pa.array(range(len(table)), pa.int64()))


def invalid_utf8(table: Any) -> Any:
    texts = [b"\xff\xfe", *(text.encode() for text in table.column("text").to_pylist()[1:])]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    column = pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(texts)))
    return set_column(table, "text", column)


def set_dense(value: float | None) -> Change:
    def change(table: Any) -> Any:
        column = table.column("qdrant-minilm")
        rows = column.to_pylist()
        return set_column(table, "qdrant-minilm", pa.array([[value] * len(rows[0]), *rows[1:]], column.type))

    return change


def set_sparse(indices: list[Any], values: list[Any]) -> Change:
    def change(table: Any) -> Any:
        column = table.column("bm25-code")
        rows = [{"indices": indices, "values": values}, *column.to_pylist()[1:]]
        return set_column(table, "bm25-code", pa.array(rows, column.type))

    return change


def null_dense(table: Any) -> Any:
    column = table.column("qdrant-minilm")
    return set_column(table, "qdrant-minilm", pa.array([None, *column.to_pylist()[1:]], column.type))


def shorter_dense(table: Any) -> Any:
    rows = [row[:3] for row in table.column("qdrant-minilm").to_pylist()]
    return set_column(table, "qdrant-minilm", pa.array(rows, pa.list_(pa.float32(), 3)))


def id_of_another_source(table: Any) -> Any:
    """A row of one source with the id of the other source's row of the same text."""
    rows = table.to_pylist()
    first = rows[0]
    twin = next(
        row for row in rows if row["chunk_hash"] == first["chunk_hash"] and row["source"] != first["source"]
    )
    ids = [twin["id"] if row is first else row["id"] for row in rows if row is not twin]
    left = table.filter(pc.not_equal(table.column("id"), twin["id"]))
    return set_column(left, "id", pa.array(ids, pa.string()))


def other_text(table: Any) -> Any:
    """Another text under the hash and the id of the former one."""
    return set_first("text", "other words")(table)


def twice(table: Any) -> Any:
    return pa.concat_tables([table, table])


def two_text_columns(table: Any) -> Any:
    return table.append_column("text", table.column("text"))


HOSTILE: list[tuple[Change, str]] = [
    (set_first("text", None), "1 points have no text"),
    (set_first("header", None), "1 points have no header"),
    (set_first("start_line", None), "1 points have no start_line"),
    (set_first("id", None), "1 points have no id"),
    (set_first("id", "no-uuid"), "which is no UUID"),
    (set_first("id", "0" * 8 + "-0000-0000-0000-" + "0" * 12), "is not the id of its source"),
    (id_of_another_source, "is not the id of its source"),
    (set_first("source", "mine"), "which its manifest does not name"),
    (set_first("path", "../../etc/passwd"), "which leaves its source"),
    (set_first("path", "/etc/passwd"), "which leaves its source"),
    (set_first("path", "c.md"), "is not the id of its source"),
    (other_text, "another chunk_hash than its text"),
    (set_first("chunk_hash", "0" * 64), "another chunk_hash than its text"),
    (set_first("start_line", 10**12), "has lines"),
    (set_first("start_byte", -1), "bytes -1"),
    (numbers_for_text, "the column 'text' as int64, not string"),
    (cast("text", pa.large_string()), "the column 'text' as large_string"),
    (cast("text", pa.binary()), "the column 'text' as binary"),
    (cast("start_line", pa.float64()), "the column 'start_line' as double"),
    (lambda table: table.drop_columns(["text"]), "has no column 'text'"),
    (lambda table: table.drop_columns(["bm25-code"]), "has no column 'bm25-code'"),
    (two_text_columns, "has the column 'text' twice"),
    (lambda table: table.append_column("more", table.column("text")), "'more', which its manifest"),
    (invalid_utf8, "cannot be read as Parquet"),
    (set_dense(float("nan")), "NaN or infinity"),
    (set_dense(float("inf")), "NaN or infinity"),
    (set_dense(0.0), "qdrant-minilm"),
    (set_dense(None), "holds nulls"),
    (null_dense, "points lack the vector"),
    (shorter_dense, "the column 'qdrant-minilm' as fixed_size_list"),
    (set_sparse([5, 3], [1.0, 1.0]), "bm25-code"),
    (set_sparse([3, 3], [1.0, 1.0]), "bm25-code"),
    (set_sparse([3], [1.0, 1.0]), "other numbers of indices than of values"),
    (set_sparse([3], [float("nan")]), "NaN or infinity"),
    (set_sparse([None], [1.0]), "holds nulls"),
    (twice, "comes twice|is not the id"),
]


@pytest.mark.parametrize(("change", "said"), HOSTILE)
def test_a_load_refuses_it_and_makes_nothing(
    pack: Path, tmp_path: Path, tiny_config: Config, change: Change, said: str
) -> None:
    rewrite(pack, change)
    with pytest.raises(PackError, match=said) as refused:
        carry.load(pack, tmp_path / "index", config=tiny_config)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_an_export_and_an_embed_are_done_or_one_line(
    pack: Path, tmp_path: Path, tiny_config: Config, number: int
) -> None:
    rewrite(pack, HOSTILE[number][0])
    for act in (
        lambda: carry.export(pack, "jsonl", tmp_path / "out.jsonl", config=tiny_config),
        lambda: carry.export(pack, "numpy", tmp_path / "out", config=tiny_config),
        lambda: carry.embed(pack, models=("minilm", "bm25-code", "bm25"), config=tiny_config),
    ):
        try:
            act()
        except VecloomError as refused:
            assert "\n" not in str(refused)


def test_a_load_that_refuses_changes_nothing_of_an_index(
    pack: Path, tmp_path: Path, tiny_config: Config
) -> None:
    """The bad row is in the last shard: what comes before is not sent."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.md").write_text("# Mine\n\nMy own words.\n", "utf-8")
    with Index.create(tmp_path / "index", config=tiny_config) as index:
        index.add(tmp_path / "mine")
        before = contents(index)
    files = {path.name: path.read_bytes() for path in (tmp_path / "index").glob("*.json")}
    rewrite(pack, lambda table: set_first("text", None)(table.take(list(reversed(range(len(table)))))))
    with pytest.raises(PackError):
        carry.load(pack, tmp_path / "index", config=tiny_config)
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "index").glob("*.json")}
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert contents(index) == before and set(index.sources) == {"mine"}


def test_the_command_says_it_in_one_line(pack: Path, vecloom: Vecloom) -> None:
    rewrite(pack, set_first("text", None))
    done = vecloom("load", pack, "--to", "index")
    assert done.code == 1 and done.err.count("\n") <= 1 and "1 points have no text" in done.err


def repeated_text(table: Any) -> Any:
    """A text of 4 MB in every row: a dictionary holds it once."""
    row = set_first("text", "x" * (4 << 20))(table.slice(0, 1))
    return pa.concat_tables([row] * 500)


def plain_text(table: Any) -> Any:
    """A text of 200 MB: compressed, it is some KB."""
    return set_column(
        table, "text", pa.array(["x" * (200 << 20), *table.column("text").to_pylist()[1:]], pa.string())
    )


def long_sparse(table: Any) -> Any:
    """A sparse vector of 50 million equal terms: runs of a dictionary's one entry."""
    length = 50_000_000
    column = table.column("bm25-code").combine_chunks()
    offsets = pa.array([0, *[length] * len(table)], pa.int32())
    lists = [
        pa.ListArray.from_arrays(offsets, pa.array(np.ones(length, kind))) for kind in (np.uint32, np.float32)
    ]
    return set_column(table, "bm25-code", pa.StructArray.from_arrays(lists, fields=list(column.type)))


def many_rows(table: Any) -> Any:
    """Five million rows of nulls."""
    return pa.Table.from_arrays(
        [pa.nulls(5_000_000, field.type) for field in table.schema if field.name != "qdrant-minilm"],
        names=[name for name in table.column_names if name != "qdrant-minilm"],
    ).append_column("qdrant-minilm", pa.nulls(5_000_000, table.schema.field("qdrant-minilm").type))


@pytest.mark.parametrize("act", ["load", "export"])
@pytest.mark.parametrize("change", [repeated_text, plain_text, long_sparse, many_rows])
def test_a_small_file_does_not_become_gigabytes(
    pack: Path, tmp_path: Path, tiny_environ: dict[str, str], change: Change, act: str
) -> None:
    rewrite(pack, change, compression="zstd")
    size = sum(path.stat().st_size for path in pack.glob("*.parquet"))
    assert size < 2 << 20
    code = (
        "import resource, sys\n"
        "import pyarrow.parquet, pyarrow.compute\n"
        "from vecloom.cli import run\n"
        "import vecloom.carry, vecloom.pipeline.loading, vecloom.pipeline.exporting, vecloom.pack.columns\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "code = run(sys.argv[1:])\n"
        "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    arguments = {
        "load": ["load", str(pack), "--to", "index"],
        "export": ["export", str(pack), "--format", "jsonl", "--out", "out.jsonl"],
    }[act]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**tiny_environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    found, kilobytes = map(int, done.stdout.split())
    assert found == 1 and ("never written" in done.stderr or "ever written" in done.stderr), done.stderr
    assert "Traceback" not in done.stderr and kilobytes << 10 < MOST_MEMORY
    assert not (tmp_path / "index").exists() and not (tmp_path / "out.jsonl").exists()


def test_a_zip_whose_member_unpacks_to_much_more_is_refused(pack: Path, tmp_path: Path) -> None:
    manifest = (pack / "manifest.json").read_bytes()
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (60 << 20) + manifest)
    with pytest.raises(PackError, match=r"which unpacks from \d+ KiB to 60 MiB"):
        carry.load(tmp_path / "pack.zip", tmp_path / "index")


def test_a_page_that_is_larger_than_its_footer_says_is_refused(
    pack: Path, tmp_path: Path, tiny_config: Config
) -> None:
    """The sizes in page headers count; here one of them is damaged."""
    manifest = load_pack_manifest(FolderFiles(pack))
    shard = manifest.shards[0]
    path = pack / shard.name
    column = next(
        part
        for part in map(pq.ParquetFile(path).metadata.row_group(0).column, range(15))
        if part.path_in_schema == "text"
    )
    data = bytearray(path.read_bytes())
    assert data[column.data_page_offset] == 0x15  # field 1, an integer: the type of the page
    data[column.data_page_offset + 1] = 0x7E
    path.write_bytes(data)
    with path.open("rb") as file:
        listed = replace(shard, sha256=sha256_of(file))
    replace(manifest, shards=(listed, *manifest.shards[1:])).save(pack)
    with pytest.raises(PackError, match="damaged page header"):
        carry.load(pack, tmp_path / "index", config=tiny_config)


def test_the_footer_is_bounded_before_it_is_read(pack: Path, tmp_path: Path, tiny_config: Config) -> None:
    manifest = load_pack_manifest(FolderFiles(pack))
    shard = manifest.shards[0]
    data = (pack / shard.name).read_bytes()
    (pack / shard.name).write_bytes(data[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1")
    with (pack / shard.name).open("rb") as file:
        listed = replace(shard, sha256=sha256_of(file))
    replace(manifest, shards=(listed, *manifest.shards[1:])).save(pack)
    with pytest.raises(PackError, match="footer of 1024 MiB"):
        carry.load(pack, tmp_path / "index", config=tiny_config)


def test_a_manifest_of_other_json_is_one_line(pack: Path, tmp_path: Path, tiny_config: Config) -> None:
    said = json.loads((pack / "manifest.json").read_text("utf-8"))
    strange: list[Any] = [[], 7, "text", None, {**said, "shards": None}, {**said, "format": "x"}]
    for other in strange:
        (pack / "manifest.json").write_text(json.dumps(other), "utf-8")
        with pytest.raises(PackError) as refused:
            carry.load(pack, tmp_path / "index", config=tiny_config)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", ["dense", "multivector"])
def test_the_largest_groups_that_vecloom_writes_are_read(kind: VectorKind, half: bool) -> None:
    count, dim = 1024, 4096 if kind == "dense" else 256
    rng = np.random.default_rng(1)
    field, terms = VectorField("large", kind, dim), VectorField("terms", "sparse")
    large: Vectors = rng.standard_normal((count, dim)).astype(np.float32)
    if kind == "multivector":
        large = [
            rng.standard_normal((tokens, dim)).astype(np.float32) for tokens in rng.integers(1, 60, count)
        ]
    indptr = np.arange(0, 20 * count + 1, 20)
    indices = np.tile(np.arange(20, dtype=np.uint32), count)
    rows = SparseRows(indptr, indices, np.ones(20 * count, np.float32))
    texts: dict[str, Any] = dict.fromkeys(PAYLOAD, "the words of a chunk " * 90)
    numbers = {name: 1 for name in PAYLOAD if name.startswith(("start", "end"))}
    points = Points(
        [str(uuid.UUID(int=number)) for number in range(count)],
        [texts | numbers] * count,
        {"large": large, "terms": rows},
    )
    schema, file = schema_of([field, terms], half), io.BytesIO()
    writer = TableWriter(file, schema)
    writer.write(table_of(points, schema))
    writer.close()
    assert sum(map(len, read_tables(file, None, count, schema))) == count
