"""V4's settings, with its names and defaults. They can be changed, as V4's could.

A setting without an effect says so: vecloom sees to what it was for, or V4 never read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from vecloom.compat.places import output_folder


@dataclass
class ModelConfig:
    """A dense model as V4's table lists it.

    Texts are cut at the model's own limit; a ``max_tokens`` that is changed in the table is the limit then.
    Prefixes that are changed take the place of the model's prompts. ``backend``: pytorch, onnx or openvino;
    one that is changed runs this model, whatever `KaggleGPUConfig` says. ``trust_remote_code`` is ignored:
    code of repositories is never run. ``memory_efficient`` and ``supports_flash_attention`` have no effect.
    """

    name: str
    hf_model_id: str
    vector_dim: int
    max_tokens: int
    trust_remote_code: bool = True
    query_prefix: str = ""
    doc_prefix: str = ""
    recommended_batch_size: int = 32
    memory_efficient: bool = True
    supports_flash_attention: bool = False
    backend: str = "pytorch"


@dataclass
class KaggleGPUConfig:
    """Where and how models run.

    ``device_count``: GPUs that are used at most; 0 means the CPU, as does a machine without one. ``backend``:
    pytorch, onnx or openvino. ``precision``: fp16 means half precision, in bf16 where the GPUs compute in it;
    a CPU computes in fp32. The batch sizes are told in the results; what decides a batch is its tokens and
    the memory that is free. The other settings have no effect.
    """

    device_count: int = 2
    vram_per_gpu_gb: float = 15.83
    total_vram_gb: float = 31.66
    max_memory_per_gpu: float = 0.8
    enable_memory_efficient_attention: bool = True
    gradient_checkpointing: bool = True
    precision: str = "fp16"
    enable_mixed_precision: bool = True
    use_amp: bool = True
    base_batch_size: int = 32
    dynamic_batching: bool = True
    max_sequence_length: int = 2048
    backend: str = "pytorch"
    enable_torch_compile: bool = True
    strategy: str = "data_parallel"
    enable_gradient_accumulation: bool = True
    accumulation_steps: int = 2
    kaggle_environment: bool = True
    output_path: str = "/kaggle/working"

    def get_optimal_batch_size(self, model_config: ModelConfig) -> int:
        """Texts a batch for who counts so: the model's own number, where dynamic at least the base size."""
        recommended = model_config.recommended_batch_size
        return max(self.base_batch_size, recommended) if self.dynamic_batching else recommended


@dataclass
class KaggleExportConfig:
    """What is written, and where.

    ``working_dir``: off Kaggle the default means the current folder. ``export_pickle``,
    ``compress_embeddings`` and ``quantize_int8`` have no effect.
    """

    export_numpy: bool = True
    export_jsonl: bool = True
    export_faiss: bool = True
    export_pickle: bool = False
    export_sparse_jsonl: bool = True
    compress_embeddings: bool = True
    quantize_int8: bool = False
    include_full_metadata: bool = True
    include_processing_stats: bool = True
    include_model_info: bool = True
    working_dir: str = "/kaggle/working"
    output_prefix: str = "ultimate_embeddings_v4"

    def get_output_path(self, suffix: str = "") -> str:
        """The path of a file that begins with the prefix."""
        return str(output_folder(self.working_dir) / f"{self.output_prefix}{suffix}")


@dataclass
class EnsembleConfig:
    """Several dense models made one vector.

    ``aggregation_method``: weighted_average and max_pooling take models of one dimension, concat takes any.
    ``model_weights``: by model name, all 1 where there are none. The other settings have no effect.
    """

    ensemble_models: list[str] = field(default_factory=lambda: ["nomic-coderank", "bge-m3"])
    weighting_strategy: str = "equal"
    model_weights: Mapping[str, float] | None = None
    aggregation_method: str = "weighted_average"
    parallel_encoding: bool = True
    memory_efficient: bool = True


@dataclass
class RerankingConfig:
    """Whether a cross-encoder orders what a search found, and which. The other settings have no effect."""

    model_name: str = "ms-marco-v2"
    enable_reranking: bool = False
    top_k_candidates: int = 100
    rerank_top_k: int = 20
    batch_size: int = 32
    enable_caching: bool = True
    cache_size: int = 1000


@dataclass
class AdvancedPreprocessingConfig:
    """What is done to a text before it is encoded; see `vecloom.compat.texts.preprocessed`.

    ``trim_long_sequences`` has no effect: the tokenizer cuts at the model's limit, and the cut is counted.
    Neither have ``enable_tokenizer_caching`` and what follows ``max_cache_size``.
    """

    enable_text_caching: bool = True
    normalize_whitespace: bool = True
    remove_excessive_newlines: bool = True
    trim_long_sequences: bool = True
    enable_tokenizer_caching: bool = True
    max_cache_size: int = 10000
    cache_hit_threshold: float = 0.8
    enable_memory_scaling: bool = True
    memory_scale_factor: float = 0.8
    adaptive_batch_sizing: bool = True


class AdvancedTextCache:
    """Processed texts by their originals; the one that was put in first is dropped first."""

    def __init__(self, max_size: int = 10000) -> None:
        self.max_size = max_size
        self.hit_count = 0
        self.miss_count = 0
        self._texts: dict[bytes, str] = {}

    def get_processed_text(self, text: str, processing_func: Callable[[str], str]) -> str:
        """What ``processing_func`` makes of a text, which is called for a text that is not remembered."""
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key in self._texts:
            self.hit_count += 1
            return self._texts[key]
        self.miss_count += 1
        processed = processing_func(text)
        if self.max_size > 0:
            if len(self._texts) >= self.max_size:
                del self._texts[next(iter(self._texts))]
            self._texts[key] = processed
        return processed

    def get_stats(self) -> dict[str, float]:
        """``cache_size``, ``hit_count``, ``miss_count``, ``hit_rate`` (0 to 1) and ``memory_mb``."""
        asked = self.hit_count + self.miss_count
        return {
            "cache_size": len(self._texts),
            "hit_count": self.hit_count,
            "miss_count": self.miss_count,
            "hit_rate": self.hit_count / asked if asked else 0.0,
            "memory_mb": sum(map(len, self._texts.values())) / 1e6,
        }
