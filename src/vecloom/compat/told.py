"""The dicts in which V4 tells what was loaded, encoded and exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vecloom.compat.chunks import Found
from vecloom.compat.selection import v4_backend
from vecloom.compat.settings import AdvancedTextCache, KaggleGPUConfig, ModelConfig
from vecloom.encoders.backends import Runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vecloom.pipeline.encoding import Encoding


@dataclass(frozen=True, slots=True)
class Ran:
    """What an embedder ran.

    ``embeddings``: of the main model, or of the ensemble; ``main``: the vector names behind them; ``runs``:
    how the first of them is run. ``companions``: further models, each with its vectors.
    """

    gpu: KaggleGPUConfig
    model: ModelConfig
    embeddings: NDArray[np.float32]
    main: Sequence[str]
    companions: Sequence[tuple[ModelConfig, NDArray[np.float32]]]
    runs: Runs
    gpus: int
    on_kaggle: bool


def summary_of(
    found: Found,
    metadata: Sequence[Mapping[str, Any]],
    sparse: Sequence[Mapping[str, Any] | None],
    cache: AdvancedTextCache,
) -> dict[str, Any]:
    """What was loaded, and what was not."""
    by_collection = Counter(chunk.collection for chunk in found.chunks)
    return {
        "collections_loaded": len(by_collection),
        "total_chunks_loaded": len(found.chunks),
        "chunks_by_collection": dict(by_collection),
        "loading_errors": found.errors,
        "memory_usage_mb": sum(len(chunk.text) for chunk in found.chunks) / 1e6,
        "preprocessing_stats": cache.get_stats(),
        "sparse_vectors_generated": sum(entry is not None for entry in sparse),
        "modal_hint_counts": dict(Counter(one["modal_hint"] for one in metadata)),
        "skipped_chunks": found.skipped,
        "ignored_files": found.ignored,
    }


def results_of(ran: Ran, encoding: Encoding, seconds: float) -> dict[str, Any]:
    """What V4 tells of a run, and what it did not: the companions, and what a model's limit cut."""
    count, megabytes = len(ran.embeddings), ran.embeddings.nbytes / 1e6
    tokens = sum(encoding.costs[name].tokens for name in ran.main)
    return {
        "total_embeddings_generated": count,
        "embedding_dimension": ran.embeddings.shape[1],
        "processing_time_seconds": seconds,
        "chunks_per_second": count / seconds,
        "gpu_count": ran.gpus,
        "optimal_batch_size": ran.gpu.get_optimal_batch_size(ran.model),
        "total_batches": encoding.windows,
        "model_used": ran.model.name,
        "backend": v4_backend(ran.runs.backend),
        "precision": ran.runs.precision,
        "embedding_memory_mb": megabytes,
        "memory_per_chunk_kb": 1000 * megabytes / count,
        "kaggle_optimized": ran.on_kaggle,
        "performance_stats": {"tokens": tokens, "tokens_per_second": tokens / seconds},
        "companion_models": {
            entry.name: {
                "embedding_dimension": matrix.shape[1],
                "memory_mb": matrix.nbytes / 1e6,
                "batch_size": ran.gpu.get_optimal_batch_size(entry),
            }
            for entry, matrix in ran.companions
        },
        "truncated": {
            name: {"texts": cost.cut_texts, "tokens": cost.cut_tokens}
            for name, cost in encoding.costs.items()
            if cost.cut_texts
        },
    }


def stats_of(
    ran: Ran,
    performance: Mapping[str, Any],
    sparse: Sequence[Mapping[str, Any] | None],
    cache: AdvancedTextCache,
) -> dict[str, Any]:
    """What stands in the file of statistics."""
    return {
        "kaggle_environment": ran.on_kaggle,
        "model_config": {
            "name": ran.model.name,
            "hf_model_id": ran.model.hf_model_id,
            "vector_dimension": ran.model.vector_dim,
            "max_tokens": ran.model.max_tokens,
        },
        "gpu_config": asdict(ran.gpu),
        "embedding_stats": {
            "total_embeddings": len(ran.embeddings),
            "embedding_dimension": ran.embeddings.shape[1],
            "memory_usage_mb": ran.embeddings.nbytes / 1e6,
        },
        "processing_performance": performance,
        "sparse_vector_stats": {"chunks_with_sparse": sum(map(bool, sparse))},
        "preprocessing_cache": cache.get_stats(),
        "export_timestamp": datetime.now(UTC).isoformat(),
    }
