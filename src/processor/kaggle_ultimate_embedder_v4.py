"""V4's module under its own name: all of it is `vecloom.compat.v4`.

A ``processor`` package of your own with an ``__init__.py`` hides this one: import from there instead.
"""

from __future__ import annotations

import sys

from vecloom.compat.v4 import (
    KAGGLE_OPTIMIZED_MODELS,
    ONNX_AVAILABLE,
    RERANKING_MODELS,
    SPARSE_MODELS,
    TENSORRT_AVAILABLE,
    AdvancedPreprocessingConfig,
    AdvancedTextCache,
    EnsembleConfig,
    KaggleExportConfig,
    KaggleGPUConfig,
    ModelConfig,
    RerankingConfig,
    UltimateKaggleEmbedderV4,
    generate_sparse_vectors,
    main,
)
from vecloom.errors import VecloomError

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

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except VecloomError as error:
        sys.exit(str(error))
