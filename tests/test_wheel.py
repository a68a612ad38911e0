"""The wheel: what it holds, and what it does in an environment that has nothing else."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from vecloom.repack import repack_wheel
from vecloom.version import __version__

ROOT = Path(__file__).parent.parent

V4 = (
    "from processor.kaggle_ultimate_embedder_v4 import UltimateKaggleEmbedderV4, KaggleGPUConfig; "
    "print(UltimateKaggleEmbedderV4.__module__)"
)


def run(*command: str | Path, cwd: Path, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """Variables of a process that knows nothing of this checkout, with pip's own kept."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("VECLOOM_", "PYTHON"))}
    return {**own, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_RETRIES": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Path:
    """The wheel that ``make wheel`` builds."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    reached = subprocess.run(
        [*pip, "download", "--no-deps", "--dest", folder / "probe", "hatchling"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if reached.returncode:
        pytest.skip("no package index can be reached, which building the wheel needs")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder, environ=environ)
    (built,) = folder.glob("*.whl")
    return built


def contents(wheel: zipfile.ZipFile) -> dict[str, bytes]:
    """Files of the packages."""
    return {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_every_file_of_the_source(wheel: Path) -> None:
    source = {
        path.relative_to(ROOT / "src").as_posix(): path.read_bytes()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"vecloom/py.typed", "processor/kaggle_ultimate_embedder_v4.py"} < source.keys()
    with zipfile.ZipFile(wheel) as built, zipfile.ZipFile(io.BytesIO(repack_wheel()[1])) as repacked:
        assert contents(built) == source
        assert contents(repacked) == source
        assert sorted(built.namelist()) == sorted(repacked.namelist())
    assert repack_wheel()[0] == wheel.name


@pytest.mark.timeout(900)
def test_a_fresh_environment_indexes_searches_and_runs_v4(
    wheel: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    venv.create(tmp_path / "fresh", with_pip=True)
    scripts = tmp_path / "fresh" / ("Scripts" if sys.platform == "win32" else "bin")
    python, vecloom = scripts / "python", scripts / "vecloom"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path, environ=environ)
    home = tmp_path / "home"
    (home / "tree").mkdir(parents=True)
    (home / "tree" / "loom.py").write_text("def throw_shuttle(warp):\n    return warp\n", "utf-8")
    (home / "tree" / "notes.md").write_text("# Looms\n\nThe heddle lifts a thread.\n", "utf-8")
    fresh = {**environ, "VECLOOM_DATA_DIR": str(home / "data"), "VECLOOM_CACHE_DIR": str(home / "cache")}
    (home / "config.toml").touch()
    fresh["VECLOOM_CONFIG"] = str(home / "config.toml")
    assert run(vecloom, "--version", cwd=home, environ=fresh) == f"vecloom {__version__}\n"
    run(vecloom, "index", "tree", "--models", "bm25-code", "--index", "index", cwd=home, environ=fresh)
    said = run(vecloom, "search", "throw shuttle", "--index", "index", cwd=home, environ=fresh)
    assert "loom.py:1-2" in said
    assert run(python, "-c", V4, cwd=home, environ=fresh).startswith("vecloom.compat")
    where = run(python, "-c", "import vecloom; print(vecloom.__file__)", cwd=home, environ=fresh)
    assert Path(where.strip()).is_relative_to(tmp_path / "fresh")
    missing = subprocess.run(
        [vecloom, "status", "--index", "http://localhost:1"],
        cwd=home,
        env=fresh,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 1
    command = f"{python} -m pip install 'qdrant-client>=1.20'"
    assert missing.stderr == f"vecloom: a Qdrant server needs an optional dependency: {command}\n"
