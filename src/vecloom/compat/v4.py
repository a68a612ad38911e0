"""The interface of ``kaggle_ultimate_embedder_v4``: chunks of a folder to vectors to files for Qdrant.

    from vecloom.compat.v4 import UltimateKaggleEmbedderV4

    embedder = UltimateKaggleEmbedderV4(
        model_name="jina-code-embeddings-1.5b",
        companion_dense_models=["bge-m3"],
        enable_sparse=True,
    )
    embedder.load_chunks_from_processing("path/to/chunks")
    embedder.generate_embeddings_kaggle_optimized()
    embedder.export_for_local_qdrant()

``processor.kaggle_ultimate_embedder_v4`` re-exports it. docs/seed.md lists where it differs from V4. What a
person should know is logged under ``vecloom.compat.v4``.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from importlib.util import find_spec

from vecloom.compat.embedder import UltimateKaggleEmbedderV4
from vecloom.compat.models import KAGGLE_OPTIMIZED_MODELS, RERANKING_MODELS, SPARSE_MODELS
from vecloom.compat.places import DEFAULT_CHUNKS, KAGGLE
from vecloom.compat.settings import (
    AdvancedPreprocessingConfig,
    AdvancedTextCache,
    EnsembleConfig,
    KaggleExportConfig,
    KaggleGPUConfig,
    ModelConfig,
    RerankingConfig,
)
from vecloom.errors import UsageError
from vecloom.standalone import generate_sparse_vectors

__all__ = [
    "KAGGLE_OPTIMIZED_MODELS",
    "ONNX_AVAILABLE",
    "RERANKING_MODELS",
    "SPARSE_MODELS",
    "TENSORRT_AVAILABLE",
    "AdvancedPreprocessingConfig",
    "AdvancedTextCache",
    "EnsembleConfig",
    "KaggleExportConfig",
    "KaggleGPUConfig",
    "ModelConfig",
    "RerankingConfig",
    "UltimateKaggleEmbedderV4",
    "generate_sparse_vectors",
    "main",
]

ONNX_AVAILABLE = find_spec("onnxruntime") is not None
#: vecloom runs no TensorRT.
TENSORRT_AVAILABLE = False


def main(arguments: Sequence[str] = ()) -> None:
    """Load, encode and export with V4's defaults, or as the command line says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Chunks of a folder to vectors to files for Qdrant.")
    parser.add_argument("--chunks", default=DEFAULT_CHUNKS, metavar="DIR", help="where the chunks are")
    parser.add_argument("--model", default="nomic-coderank", help="the dense model")
    parser.add_argument("--companions", nargs="*", default=(), metavar="MODEL", help="further dense models")
    parser.add_argument("--sparse", action="store_true", help="BM25 and attention vectors too")
    parser.add_argument("--out", default=KAGGLE, metavar="DIR", help="where the files go")
    asked = parser.parse_args(arguments)
    embedder = UltimateKaggleEmbedderV4(
        asked.model,
        export_config=KaggleExportConfig(working_dir=asked.out),
        companion_dense_models=asked.companions,
        enable_sparse=asked.sparse,
    )
    loaded = embedder.load_chunks_from_processing(asked.chunks)
    if "error" in loaded:
        raise UsageError(loaded["error"])
    embedder.generate_embeddings_kaggle_optimized()
    embedder.export_for_local_qdrant()
