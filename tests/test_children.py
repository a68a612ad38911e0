"""Child processes: none imports from the working folder, the indexed tree or the script's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from vecloom.config import Config
from vecloom.index import Index
from vecloom.pipeline.reading import ChunkSettings, chunk_reader
from vecloom.processes import child_environment, python_command
from vecloom.recipe import Asked
from vecloom.runners.pool import Pool
from vecloom.sources import File, Skip
from vecloom.stores import optimise
from vecloom.weights import convert, wheel

pytestmark = pytest.mark.usefixtures("reader_process")

#: Modules of the standard library, of other packages and of our own, as a hostile tree would name its own.
NAMES = (
    "collections",
    "json",
    "multiprocessing",
    "numpy",
    "pip",
    "qdrant_edge",
    "safetensors",
    "sitecustomize",
    "tokenizers",
    "torch",
    "transformers",
    "tree_sitter",
    "usercustomize",
    "vecloom",
)
CODE = "from pathlib import Path\nPath({mark!r}).write_text(__name__)\nraise SystemExit(9)\n"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What exists once code of the tree has run."""
    return tmp_path / "mark"


@pytest.fixture
def tree(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder full of packages that nobody should import."""
    tree = tmp_path / "tree"
    for name in NAMES:
        (tree / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (tree / name / file).write_text(CODE.format(mark=str(mark)), "utf-8")
    (tree / "notes.md").write_text("# Notes\n\nthe words of the notes\n", "utf-8")
    monkeypatch.chdir(tree)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(tree)]))
    yield tree
    assert not mark.exists(), f"the tree's own {mark.read_text()} was imported"


def test_the_packages_of_the_tree_do_run_where_python_is_started_plainly(tmp_path: Path, mark: Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(CODE.format(mark=str(mark)), "utf-8")
    subprocess.run([sys.executable, "-c", "import numpy"], cwd=tmp_path, check=False)
    assert mark.exists()


def test_the_reader(tree: Path) -> None:
    data = b"# Title\n\ntext\n"
    with chunk_reader(ChunkSettings((), 64)) as reader:
        found = reader.read("s", File("a.md", tree / "a.md", len(data), 0, 100), data)
    assert not isinstance(found, Skip) and len(found.chunks) == 1


def where_it_runs(device: str) -> Callable[[int], tuple[str, list[str]]]:
    """A stage that tells where it runs, and from where it would import."""
    import collections
    import json
    import multiprocessing

    assert collections and json and multiprocessing
    return lambda _window: (device, sys.path)


def test_a_worker_of_a_pool(tree: Path) -> None:
    with closing(Pool(where_it_runs, ["cpu"], lambda _line: None)) as pool:
        pool.submit(1, 1)
        _, (device, path) = pool.result()
    assert device == "cpu" and str(tree) not in path and "" not in path


def test_the_optimiser(tree: Path, tmp_path: Path, tiny_config: Config) -> None:
    with Index.prepare(tmp_path / "index", Asked(("bm25-code",)), config=tiny_config) as index:
        index.add(tree)
        shard = next((tmp_path / "index").glob("shard-*"))
        schema = index._schema
        points = index.status().points
    optimise._seal_apart(shard, schema, points)


def test_pip(tree: Path, tmp_path: Path) -> None:
    wheel._run("pip", python_command("pip", "--version"), tmp_path)


def test_the_conversion_of_weights(tree: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    convert.to_safetensors(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").exists()


def test_a_whole_index_run_with_workers(tree: Path, seed_environ: Mapping[str, str], tmp_path: Path) -> None:
    environ = {**os.environ, **seed_environ}
    environ.pop("PYTHONPATH")
    command = [sys.executable, "-P", "-m", "vecloom", "index", ".", "--index", str(tmp_path / "index")]
    done = subprocess.run(
        [*command, "--models", "nomic-coderank,bm25-code", "--device", "cpu,cpu"],
        env=environ,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nomic-coderank: " in done.stderr and " 0 chunks stored" not in done.stderr


def test_the_path_of_a_child_is_this_one_without_what_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script" / "main.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    added = [str(script.parent), "", ".", "relative", str(tmp_path), f"/with{os.pathsep}colon", "/elsewhere"]
    monkeypatch.setattr(sys, "path", [*added, *sys.path])
    environ = child_environment()
    path = environ["PYTHONPATH"].split(os.pathsep)
    assert path[0] == "/elsewhere" and not {"", ".", "relative", str(tmp_path), str(script.parent)} & {*path}
    assert environ["PYTHONSAFEPATH"] == "1"


def test_a_child_finds_vecloom_where_the_working_folder_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import vecloom

    home = Path(vecloom.__file__).parents[1]
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [str(home)])
    assert child_environment()["PYTHONPATH"] == str(home)
    call = partial(subprocess.run, capture_output=True, text=True, check=True)
    done = call(python_command("vecloom", "--help"), env=child_environment())
    assert "Usage" in done.stdout
