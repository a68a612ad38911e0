"""One broken file of an index or of the data folder: one line that names it, and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Commands, Vecloom
from stored import contents
from vecloom import carry
from vecloom.config import Config, load_config
from vecloom.errors import ConfigError, IndexFormatError, StoreBusyError, StoreError
from vecloom.index import Index
from vecloom.pipeline.home import LEDGER
from vecloom.pipeline.manifest import load_manifest, manifest_of, record_in, said_of
from vecloom.pipeline.writer import writer_of, writing
from vecloom.stores.edge import EdgeStore, engine_version

WORDS = ["bm25-code"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("weave", "spin"):
        (root / f"{name}.py").write_text(f'def {name}():\n    return "thread"\n', "utf-8")
    return root


@pytest.fixture
def folder(tree: Path, tmp_path: Path, tiny_config: Config) -> Path:
    with Index.create(tmp_path / "index", WORDS, config=tiny_config) as index:
        index.add(tree)
    return tmp_path / "index"


def is_one_line(error: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    said = str(error.value)
    assert "\n" not in said and all(part in said for part in parts), said


WRONG_FIELDS: list[tuple[str, Any]] = [
    ("sources", []),
    ("sources", {"a": 1}),
    ("sources", {"": "/x"}),
    ("sources", {"a\0": "/x"}),
    ("sources", {"a": "/x\0"}),
    ("models", {}),
    ("models", []),
    ("models", [3]),
    ("chunk_tokens", "256"),
    ("chunk_tokens", True),
    ("chunk_tokens", 10**400),
    ("chunk_tokens", 0),
    ("overlap", -1),
    ("overlap", 1.5),
    ("counted_by", "minilm"),
    ("counted_by", [[]]),
    ("incomplete", [1]),
    ("unfinished", {"a": 1}),
    ("profile", "v6"),
    ("profile", ["default"]),
    ("task", 7),
    ("chunker", None),
    ("created_with", {}),
    ("uid", 5),
    ("uid", ""),
    ("shard", "../../etc"),
    ("shard", "shard-1/../x"),
    ("shard", "/shard-1"),
    ("shard", 1),
    ("format", "1"),
    ("format", None),
    ("format", -3),
    ("format", True),
]

WRONG_MODEL_FIELDS: list[tuple[str, Any]] = [
    ("name", 3),
    ("name", "\ud800"),
    ("vector_name", None),
    ("settings_hash", []),
    ("backend", "cobol"),
    ("backend", {}),
    ("precision", 32),
    ("weights_hash", 0),
    ("avg_len", "many"),
    ("avg_len", 0),
    ("avg_len", 10**400),
    ("avg_len", float("nan")),
    ("speed", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG_FIELDS)
def test_a_wrong_field_of_index_json_is_named(folder: Path, name: str, value: Any) -> None:
    path = folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {name: value}), "utf-8")
    with pytest.raises(IndexFormatError) as error:
        load_manifest(folder)
    is_one_line(error, str(path), name, "--rebuild")


@pytest.mark.parametrize(("name", "value"), WRONG_MODEL_FIELDS)
def test_a_wrong_field_of_a_model_is_named(folder: Path, name: str, value: Any) -> None:
    path = folder / "index.json"
    said = json.loads(path.read_text("utf-8"))
    said["models"][0][name] = value
    path.write_text(json.dumps(said), "utf-8")
    with pytest.raises(IndexFormatError) as error:
        load_manifest(folder)
    is_one_line(error, str(path), f"models.0.{name}")


def test_missing_fields_and_equal_vectors_are_named(folder: Path) -> None:
    said = json.loads(json.dumps(said_of(load_manifest(folder))))
    assert manifest_of(said, "here") == load_manifest(folder)
    for name in ("format", "models", "chunk_tokens", "uid"):
        with pytest.raises(IndexFormatError, match=f"here cannot be read .*{name}"):
            manifest_of({key: value for key, value in said.items() if key != name}, "here")
    with pytest.raises(IndexFormatError, match="'bm25-code' comes twice"):
        manifest_of(said | {"models": said["models"] * 2}, "here")


def test_a_manifest_of_the_first_format_is_read(folder: Path, tiny_config: Config) -> None:
    path = folder / "index.json"
    said = json.loads(path.read_text("utf-8"))
    path.write_text(
        json.dumps({k: v for k, v in said.items() if k not in ("engine", "absent")} | {"format": 1}), "utf-8"
    )
    with Index.open(folder, config=tiny_config) as index:
        assert index.search("weave") and index.absent == ()
    assert load_manifest(folder).engine == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"7",
        b'"text"',
        b"[" * 100_000,
        b'{"format":' * 100_000,
        b"\xff\xfe{}",
        b"9" * 6000,
        b'{"format": 1}',
        b'{"format": NaN}',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_manifest_is_one_line(folder: Path, data: bytes) -> None:
    (folder / "index.json").write_bytes(data)
    with pytest.raises(IndexFormatError) as error:
        load_manifest(folder)
    is_one_line(error, str(folder / "index.json"), "cannot be read")


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs of POSIX")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_another_kind_of_file_in_place_of_index_json_is_one_line(
    folder: Path, make: Callable[[Path], None]
) -> None:
    (folder / "index.json").unlink()
    make(folder / "index.json")
    with pytest.raises(IndexFormatError, match="not a regular file"):
        load_manifest(folder)


def test_one_broken_index_of_the_data_folder_leaves_the_others_usable(
    vecloom: Vecloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(f"def {name}thing(): return 1\n", "utf-8")
        assert vecloom("index", name, "--models", "bm25-code").code == 0
    (broken,) = (tmp_path / "data" / "indexes").glob("a-*/index.json")
    (whole,) = (tmp_path / "data" / "indexes").glob("b-*")
    broken.write_text(json.dumps(json.loads(broken.read_text("utf-8")) | {"sources": []}), "utf-8")
    monkeypatch.chdir(tmp_path / "b")
    for command in (["search", "bthing", "--json"], ["status", "--json"], ["index", "."]):
        done = vecloom(*command)
        assert done.code == 0, done
        told = [line for line in done.err.splitlines() if str(broken) in line]
        assert len(told) == 1 and "sources" in told[0] and "Traceback" not in done.err
        assert command[0] == "index" or str(whole) in done.out or "b.py" in done.out
    # The one that is meant is told of once; with no index left, the command says so.
    meant = vecloom("index", tmp_path / "a")
    assert meant.code == 1 and len(meant.err.splitlines()) == 1 and str(broken) in meant.err
    shutil.rmtree(whole)
    alone = vecloom("search", "bthing")
    assert alone.code == 2 and "no index can be read" in alone.err
    # And the way out that the line names works.
    assert vecloom("index", tmp_path / "a", "--rebuild", "--models", "bm25-code").code == 0
    assert "a.py" in vecloom("search", "athing", "--json").out


def spoil_tables(path: Path, script: str) -> None:
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE files; CREATE TABLE files (a, b);",
        "DROP TABLE files; CREATE VIEW files AS SELECT 1 AS source, 2 AS path, 3 AS hash, 4 AS chunks;",
        "DROP TABLE meta; CREATE TABLE meta (other TEXT);",
        "DROP TABLE roots; CREATE TABLE roots (x TEXT);",
        "INSERT INTO files VALUES ('tree', x'00ff', 'h', 1);",
        "UPDATE files SET hash = x'00ff';",
        "INSERT INTO files VALUES ('tree', CAST(x'ff' AS TEXT), 'h', 1);",
        "UPDATE meta SET uid = 3;",
        "PRAGMA user_version = 99;",
    ],
)
def test_files_db_of_another_making_is_begun_anew(
    folder: Path, tree: Path, tiny_config: Config, script: str
) -> None:
    with Index.open(folder, config=tiny_config) as index:
        before = contents(index)
        spoil_tables(folder / "files.db", script)
        if "AS TEXT" in script:  # shows only while it is read: it is removed then, and said in one line
            with pytest.raises(StoreError, match="run again"):
                index.add(tree)
        index.add(tree)
        assert contents(index) == before
        assert index.add(tree).unchanged == 2


def test_a_folder_in_place_of_files_db_is_begun_anew(folder: Path, tree: Path, tiny_config: Config) -> None:
    for name in ("files.db", "files.db-wal"):
        (folder / name).unlink(missing_ok=True)
        (folder / name / "deep").mkdir(parents=True)
        with Index.open(folder, config=tiny_config) as index:
            index.add(tree)
            assert index.add(tree).unchanged == 2


@pytest.mark.parametrize(
    "said",
    ["", "[]", "[" * 100_000, '{"since": "x"}', '{"since": 1e999, "pid": 1, "progress": "", "command": ""}'],
)
def test_a_broken_note_of_the_writer_is_passed_over(folder: Path, tiny_config: Config, said: str) -> None:
    with writing(folder, "index"):
        (folder / "writer.json").write_text(said, "utf-8")
        assert writer_of(folder) == "another process"
        with Index.open(folder, config=tiny_config) as index:
            assert index.status().writer == "another process"
            with pytest.raises(StoreBusyError, match="another process"):
                index.add(folder.parent / "tree")


@pytest.mark.parametrize("said", ["", "[]", "[" * 100_000, '{"pack": 3}', '{"pack": "ID", "shards": "x"}'])
def test_a_broken_ledger_of_a_load_sends_all_again(
    tree: Path, tmp_path: Path, tiny_config: Config, said: str
) -> None:
    from vecloom.pack.files import FolderFiles
    from vecloom.pack.manifest import load_pack_manifest
    from vecloom.pipeline.loading import pack_id

    carry.embed(tmp_path / "pack", tree, models=WORDS, config=tiny_config)
    carry.load(tmp_path / "pack", tmp_path / "loaded", config=tiny_config)
    known = pack_id(load_pack_manifest(FolderFiles(tmp_path / "pack")))
    (tmp_path / "loaded" / LEDGER).write_text(said.replace("ID", known), "utf-8")
    assert carry.load(tmp_path / "pack", tmp_path / "loaded", config=tiny_config).sent == 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"\xff\xfe", "utf-8"),
        (b'data_dir = "\\u0000"', "data_dir"),
        (b"weights = 1\nserver = []\nmodels = 2", "weights = 1.*server.*models = 2"),
        (b"[models.x]\ndim = 99999999999999999999", "models.x.dim"),
    ],
)
def test_a_broken_config_is_one_line(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=why) as error:
        load_config(file=path, environ={})
    is_one_line(error, str(path))


def test_a_folder_in_place_of_the_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(file=tmp_path, environ={})


def damage(folder: Path, pattern: str, data: bytes = b"") -> None:
    """Overwrite a file of the shard."""
    path = next(folder.glob(f"shard-*/{pattern}"))
    path.write_bytes(data)


#: Files of a shard that the engine reads at once: a panic, and refusals of several kinds.
DAMAGED = {
    "panic": "segments/*/payload_index/*/has_values/status.dat",
    "segment": "segments/*/segment.json",
    "version": "segments/*/version.info",
    "log": "wal/open-1",
    "config": "edge_config.json",
}


@pytest.mark.parametrize("pattern", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_shard_is_one_line_that_names_it(
    tiny_environ: dict[str, str], folder: Path, tree: Path, tmp_path: Path, pattern: str
) -> None:
    damage(folder, pattern)
    vecloom = Commands(tiny_environ | {"RUST_BACKTRACE": "1"}, tmp_path)
    for command in (["search", "weave"], ["index", str(tree)]):
        done = vecloom.run(*command, "--index", folder)
        lines = [line for line in done.stderr.splitlines() if "replaces the built-in row" not in line]
        assert done.returncode == 1 and len(lines) == 1, done
        assert str(folder / "shard-1") in lines[0] and f"vecloom index --rebuild --index {folder}" in lines[0]


def test_a_damaged_shard_is_mended_by_a_rebuild(vecloom: Vecloom, folder: Path) -> None:
    damage(folder, DAMAGED["segment"])
    assert vecloom("search", "weave", "--index", folder).code == 1
    assert vecloom("index", "--rebuild", "--index", folder).code == 0
    assert "weave.py" in vecloom("search", "weave", "--index", folder).out


def test_a_panic_while_a_shard_is_open_is_an_error_and_closes_it(folder: Path, tiny_config: Config) -> None:
    panic = type("PanicException", (BaseException,), {})  # as the binding calls its own

    def refuse(*_arguments: Any) -> None:
        raise panic("index out of bounds")

    with Index.open(folder, config=tiny_config) as index:
        assert index.search("weave")
        with index._home.access.open("test") as store:
            assert isinstance(store, EdgeStore)
            with pytest.raises(StoreError) as error:
                store._call(refuse)
            assert store.is_closed
        is_one_line(error, str(folder / "shard-1"), "index out of bounds", "--rebuild")
        assert index.search("weave")  # opened anew


def test_a_shard_of_another_engine_is_one_line_with_both_versions(
    vecloom: Vecloom, folder: Path, tree: Path
) -> None:
    here = engine_version()
    assert load_manifest(folder).engine == here
    record_in(folder, engine="0.8.3")
    for command in (["search", "weave"], ["status"], ["index", str(tree)]):
        done = vecloom(*command, "--index", folder)
        assert done.code == 1 and len(done.err.splitlines()) == 1, done
        assert all(part in done.err for part in (str(folder / "shard-1"), "0.8.3", here))
    assert load_manifest(folder).engine == "0.8.3"  # no run has claimed it
    for unknown in ("", f"{here.rpartition('.')[0]}.99"):
        record_in(folder, engine=unknown)
        assert vecloom("search", "weave", "--index", folder).code == 0
        assert vecloom("index", tree, "--index", folder).code == 0
        assert load_manifest(folder).engine == here
    record_in(folder, engine="0.8.3")
    assert vecloom("index", "--rebuild", "--index", folder).code == 0
    assert vecloom("search", "weave", "--index", folder).code == 0
