"""V4's tables and settings: names and defaults, what is refused, what a user changes in them."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.standins import WIDTH, make_minilm, make_reranker

from vecloom.compat import v4
from vecloom.compat.ensemble import aggregate, check_ensemble
from vecloom.compat.models import choose_dense, choose_reranker, choose_sparse
from vecloom.compat.v4 import (
    KAGGLE_OPTIMIZED_MODELS,
    RERANKING_MODELS,
    SPARSE_MODELS,
    EnsembleConfig,
    KaggleExportConfig,
    KaggleGPUConfig,
    ModelConfig,
    RerankingConfig,
    UltimateKaggleEmbedderV4,
)
from vecloom.errors import UnknownModelError, UsageError, WeightsError
from vecloom.registry import Registry

#: Key -> hub id, dimension and length, as V4 and the seed list them.
LISTED = {
    "jina-code-embeddings-1.5b": ("jinaai/jina-code-embeddings-1.5b", 1536, 32768),
    "bge-m3": ("BAAI/bge-m3", 1024, 8192),
    "nomic-coderank": ("nomic-ai/CodeRankEmbed", 768, 2048),
    "qdrant-minilm-onnx": ("Qdrant/all-MiniLM-L6-v2-onnx", 384, 256),
    "all-miniLM-l6": ("sentence-transformers/all-MiniLM-L6-v2", 384, 256),
    "gte-large": ("thenlper/gte-large", 1024, 512),
    "gte-qwen2-1.5b": ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", 1536, 8192),
    "e5-mistral-7b": ("intfloat/e5-mistral-7b-instruct", 4096, 32768),
    "gte-qwen2-7b": ("Alibaba-NLP/gte-Qwen2-7B-instruct", 3584, 32768),
    "bge-small": ("BAAI/bge-small-en-v1.5", 384, 512),
}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """V4's tables, put back afterwards."""
    kept = [(table, dict(table)) for table in (KAGGLE_OPTIMIZED_MODELS, SPARSE_MODELS, RERANKING_MODELS)]
    entries = {key: asdict(entry) for key, entry in KAGGLE_OPTIMIZED_MODELS.items()}
    yield
    for table, content in kept:
        table.clear()
        table.update(content)  # type: ignore[arg-type]
    for key, fields in entries.items():
        for name, value in fields.items():
            setattr(KAGGLE_OPTIMIZED_MODELS[key], name, value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny BERT as sentence-transformers keeps it; a user's settings that know nothing of it."""
    folder = make_minilm(tmp_path / "models" / "tiny")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}', "utf-8")
    (tmp_path / "config.toml").write_text('[weights]\norder = ["folder"]\n', "utf-8")
    monkeypatch.setenv("VECLOOM_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("VECLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_table_lists_v4s_models_and_the_seeds() -> None:
    found = {
        key: (entry.hf_model_id, entry.vector_dim, entry.max_tokens)
        for key, entry in KAGGLE_OPTIMIZED_MODELS.items()
    }
    assert found == LISTED
    assert all(entry.name == key for key, entry in KAGGLE_OPTIMIZED_MODELS.items())
    jina = KAGGLE_OPTIMIZED_MODELS["jina-code-embeddings-1.5b"]
    assert jina.query_prefix == "Find the most relevant code snippet given the following query:\n"
    assert jina.doc_prefix == "Candidate code snippet:\n"
    assert KAGGLE_OPTIMIZED_MODELS["qdrant-minilm-onnx"].backend == "onnx"
    assert KAGGLE_OPTIMIZED_MODELS["bge-small"].backend == "pytorch"
    assert [*SPARSE_MODELS] == ["qdrant-bm25", "qdrant-minilm-attention"]
    for entry in SPARSE_MODELS.values():
        assert [*entry] == ["name", "hf_model_id", "type", "description", "recommended_batch_size"]
    assert [entry["type"] for entry in SPARSE_MODELS.values()] == ["bm25", "attention"]
    assert RERANKING_MODELS == {
        "ms-marco-v2": "cross-encoder/ms-marco-MiniLM-L-6-v2",
        "ms-marco-v3": "cross-encoder/ms-marco-MiniLM-L-12-v2",
        "sbert-distil": "cross-encoder/stsb-distilroberta-base",
        "msmarco-distil": "cross-encoder/ms-marco-TinyBERT-L-2-v2",
        "bge-reranker-v2": "BAAI/bge-reranker-v2-m3",
        "jina-reranker": "jinaai/jina-reranker-v1-turbo-en",
    }


def test_parameters_and_defaults_are_v4s() -> None:
    parameters = inspect.signature(UltimateKaggleEmbedderV4).parameters.values()
    assert [(one.name, one.default) for one in parameters] == [
        ("model_name", "nomic-coderank"),
        ("gpu_config", None),
        ("export_config", None),
        ("preprocessing_config", None),
        ("enable_ensemble", False),
        ("ensemble_config", None),
        ("reranking_config", None),
        ("companion_dense_models", None),
        ("enable_sparse", False),
        ("sparse_models", None),
        ("matryoshka_dim", None),
    ]
    load = inspect.signature(UltimateKaggleEmbedderV4.load_chunks_from_processing).parameters
    assert load["chunks_dir"].default == "/kaggle/working/rad_clean/Chunked"
    search = inspect.signature(UltimateKaggleEmbedderV4.search_with_reranking).parameters
    assert (search["top_k"].default, search["initial_candidates"].default) == (20, 100)
    entry = ModelConfig("a", "b/c", 8, 16)
    assert asdict(entry) == {
        "name": "a",
        "hf_model_id": "b/c",
        "vector_dim": 8,
        "max_tokens": 16,
        "trust_remote_code": True,
        "query_prefix": "",
        "doc_prefix": "",
        "recommended_batch_size": 32,
        "memory_efficient": True,
        "supports_flash_attention": False,
        "backend": "pytorch",
    }
    gpu = KaggleGPUConfig()
    assert (gpu.device_count, gpu.precision, gpu.backend, gpu.base_batch_size) == (2, "fp16", "pytorch", 32)
    assert (gpu.max_sequence_length, gpu.strategy, gpu.output_path) == (
        2048,
        "data_parallel",
        "/kaggle/working",
    )
    assert gpu.get_optimal_batch_size(replace(entry, recommended_batch_size=8)) == 32
    gpu.dynamic_batching = False
    assert gpu.get_optimal_batch_size(replace(entry, recommended_batch_size=8)) == 8
    assert EnsembleConfig().ensemble_models == ["nomic-coderank", "bge-m3"]
    assert asdict(RerankingConfig())["cache_size"] == 1000
    assert KaggleExportConfig(working_dir="/x").get_output_path("_a") == "/x/ultimate_embeddings_v4_a"
    assert v4.ONNX_AVAILABLE and not v4.TENSORRT_AVAILABLE


def test_the_module_of_v4s_name_is_the_same_and_joins_a_package_of_ones_own(tmp_path: Path) -> None:
    from processor import kaggle_ultimate_embedder_v4 as shim

    assert shim.__all__ == v4.__all__
    assert all(getattr(shim, name) is getattr(v4, name) for name in v4.__all__)
    source = Path(shim.__file__ or "").parent
    assert [path.name for path in source.iterdir() if path.suffix == ".py"] == [
        Path(shim.__file__ or "").name
    ]
    (tmp_path / "processor").mkdir()
    (tmp_path / "processor" / "my_chunker.py").write_text("WORKS = True\n", "utf-8")
    code = (
        "from processor.my_chunker import WORKS; import processor.kaggle_ultimate_embedder_v4 as shim, sys; "
        "print(WORKS, not {'onnxruntime', 'qdrant_edge', 'tokenizers', 'torch'} & {*sys.modules})"
    )
    paths = os.pathsep.join([str(tmp_path), str(source.parent)])
    environ = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n"


def test_the_wheel_has_both_packages() -> None:
    said = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    assert said["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/vecloom", "src/processor"]
    assert any(one.startswith("faiss-cpu") for one in said["project"]["optional-dependencies"]["faiss"])


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    known = "there are jina-code-embeddings-1.5b, bge-m3, nomic-coderank, qdrant-minilm-onnx"
    for settings in ({"model_name": "gpt"}, {"companion_dense_models": ["gpt"]}):
        with pytest.raises(UnknownModelError, match=f"no model is called 'gpt'; {known}"):
            UltimateKaggleEmbedderV4(**settings)
    with pytest.raises(UnknownModelError, match="'gpt'; there are qdrant-bm25, qdrant-minilm-attention"):
        UltimateKaggleEmbedderV4(enable_sparse=True, sparse_models=["gpt"])
    with pytest.raises(UnknownModelError, match="'gpt'; there are ms-marco-v2, "):
        UltimateKaggleEmbedderV4(reranking_config=RerankingConfig(model_name="gpt", enable_reranking=True))


REFUSED: dict[str, dict[str, Any]] = {
    "gte-qwen2-1.5b cannot be run: its attention looks both ways by": {"model_name": "gte-qwen2-1.5b"},
    "qdrant-bm25 is no dense model (sparse); name one: jina": {"model_name": "qdrant-bm25"},
    "ms-marco-v2 is no dense model (reranker)": {"companion_dense_models": ["ms-marco-v2"]},
    "bge-m3 is no sparse model (dense)": {"enable_sparse": True, "sparse_models": ["bge-m3"]},
    "the backend 'tensorrt' cannot be had; take": {"gpu_config": KaggleGPUConfig(backend="tensorrt")},
    "no backend is called 'jax'; there are pytorch": {"gpu_config": KaggleGPUConfig(backend="jax")},
    "none of nomic-coderank runs on 'onnx'": {"gpu_config": KaggleGPUConfig(backend="onnx")},
    "no precision is called 'int8'": {"gpu_config": KaggleGPUConfig(precision="int8")},
    "one dimension (nomic-coderank 768, bge-m3 1024); take aggregation_method='concat'": {
        "enable_ensemble": True
    },
    "jina-reranker cannot be run": {"reranking_config": RerankingConfig("jina-reranker", True)},
    "bge-m3 gives dense vectors and does not": {"reranking_config": RerankingConfig("bge-m3", True)},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_had_is_refused_when_the_embedder_is_made(said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        UltimateKaggleEmbedderV4(**REFUSED[said])


def test_hub_ids_and_names_of_the_registry_work_too() -> None:
    registry = Registry()
    for name in ("QDRANT/all-minilm-l6-v2-ONNX", "Qdrant-MiniLM-ONNX", "minilm"):
        assert choose_dense(name, registry).key == "qdrant-minilm-onnx"
    assert choose_dense("jina-code-small", registry).key == "jina-code-embeddings-0.5b"
    assert choose_sparse("qdrant/BM25", registry).key == "qdrant-bm25"
    assert choose_reranker("cross-encoder/stsb-distilroberta-base", registry).key == "sbert-distil"
    embedder = UltimateKaggleEmbedderV4("Qdrant/all-MiniLM-L6-v2-onnx", KaggleGPUConfig(backend="onnx"))
    assert embedder.model_name == "qdrant-minilm-onnx" and [*embedder.models] == ["qdrant-minilm-onnx"]


def test_sparse_models_without_enable_sparse_are_told(caplog: pytest.LogCaptureFixture) -> None:
    UltimateKaggleEmbedderV4("qdrant-minilm-onnx", sparse_models=["qdrant-bm25"])
    assert "sparse_models are named, but enable_sparse is False" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_changes_of_an_entry_count(tables: None) -> None:
    registry = Registry()
    assert choose_dense("bge-small", registry).row == registry.find("bge-small")
    entry = KAGGLE_OPTIMIZED_MODELS["bge-small"]
    entry.max_tokens = 128
    entry.query_prefix = "ask: "
    entry.backend = "onnx"
    row = choose_dense("bge-small", registry).row
    assert (row.max_tokens, row.recommended_tokens, row.backends) == (128, 128, ("onnx",))
    assert row.prompts == {"v4": {"query": "ask: ", "document": ""}}
    KAGGLE_OPTIMIZED_MODELS["jina-code-embeddings-1.5b"].vector_dim = 256
    jina = choose_dense("jina-code-embeddings-1.5b", registry)
    assert (jina.name, jina.entry.vector_dim) == ("jina-code-embeddings-1.5b:256", 256)
    KAGGLE_OPTIMIZED_MODELS["bge-m3"].vector_dim = 512
    with pytest.raises(UsageError, match="bge-m3 has no dimension '512'; it offers only 1024"):
        UltimateKaggleEmbedderV4("bge-m3")
    KAGGLE_OPTIMIZED_MODELS["all-miniLM-l6"].backend = "onnx"
    with pytest.raises(UsageError, match="all-miniLM-l6 does not run on 'onnx'; it runs on torch"):
        UltimateKaggleEmbedderV4("all-miniLM-l6")
    del KAGGLE_OPTIMIZED_MODELS["gte-large"]
    assert choose_dense("gte-large", registry).row == registry.find("gte-large"), "the registry has it still"


def test_an_entry_of_a_known_model_under_another_name(tables: None) -> None:
    KAGGLE_OPTIMIZED_MODELS["code"] = ModelConfig(
        "code",
        "nomic-ai/coderankembed",
        768,
        8192,
        query_prefix="Represent this query for searching relevant code: ",
    )
    chosen = choose_dense("code", Registry())
    nomic = Registry().find("nomic-coderank")
    assert (chosen.key, chosen.row.key, chosen.row.vector_name) == ("code", "code", "code")
    assert (chosen.row.pooling, chosen.row.prompts, chosen.row.hub_id) == ("cls", nomic.prompts, nomic.hub_id)


def test_a_model_of_ones_own_in_a_folder_pools_as_its_files_say(
    tables: None, folder: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    KAGGLE_OPTIMIZED_MODELS["mine"] = ModelConfig("mine", str(folder), WIDTH, 64, doc_prefix="open: ")
    (tmp_path / "a.json").write_text(json.dumps(["retry the connection", "run"]), "utf-8")
    embedder = UltimateKaggleEmbedderV4("mine", gpu_config=KaggleGPUConfig(device_count=0))
    embedder.load_chunks_from_processing(str(tmp_path / "a.json"))
    embedder.generate_embeddings_kaggle_optimized()
    module = Transformer(str(folder), max_seq_length=64)
    pool = Pooling(module.get_embedding_dimension(), pooling_mode="cls")
    peer = SentenceTransformer(modules=[module, pool, Normalize()], device="cpu")
    expected = peer.encode(["retry the connection", "run"], prompt="open: ")
    assert embedder.embeddings is not None
    np.testing.assert_allclose(embedder.embeddings, expected, atol=1e-5)
    assert [*embedder.embeddings_by_model] == ["mine"]
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "weightedmean"}', "utf-8")
    with pytest.raises(WeightsError, match="says weightedmean; vecloom pools by mean, cls, lasttoken"):
        UltimateKaggleEmbedderV4("mine")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}', "utf-8")
    assert UltimateKaggleEmbedderV4("mine").model_config.vector_dim == WIDTH
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(WeightsError, match=r'does not say how mine pools .* \[models."mine"\] in the config'):
        UltimateKaggleEmbedderV4("mine")


def test_a_reranker_of_ones_own(tables: None, folder: Path, tmp_path: Path) -> None:
    RERANKING_MODELS["mine"] = str(make_reranker(tmp_path / "models" / "reranker"))
    config = RerankingConfig("mine", enable_reranking=True)
    embedder = UltimateKaggleEmbedderV4("qdrant-minilm-onnx", reranking_config=config)
    assert embedder.reranker is not None
    scores = embedder.reranker.scores("open", ["open the connection", "retry"]).values
    assert scores.shape == (2,) and scores[0] != scores[1]
    RERANKING_MODELS["ms-marco-v2"] = RERANKING_MODELS["mine"]
    assert choose_reranker("ms-marco-v2", Registry()).hub_id == RERANKING_MODELS["mine"]
    RERANKING_MODELS["other"] = "BAAI/bge-reranker-v2-m3"
    assert choose_reranker("other", Registry()).key == "bge-reranker-v2"


def test_an_ensemble_averages_pools_or_joins() -> None:
    one = np.array([[1, 0], [0, 1]], dtype=np.float32)
    two = np.array([[0, 1], [0.6, 0.8]], dtype=np.float32)
    both = {"one": one, "two": two}

    def made(**settings: Any) -> Any:
        return aggregate(both, EnsembleConfig(ensemble_models=["one", "two"], **settings))

    half = 0.5**0.5
    np.testing.assert_allclose(made()[0], [half, half], atol=1e-6)
    np.testing.assert_allclose(made(aggregation_method="max_pooling")[1], np.array([0.6, 1]) / 1.36**0.5)
    np.testing.assert_allclose(made(model_weights={"two": 0, "one": 2}), one, atol=1e-6)
    joined = made(aggregation_method="concat", model_weights={"one": 3, "two": 1})
    assert joined.shape == (2, 4) and joined.dtype == np.float32
    cosine = float(joined[0] @ joined[1])
    assert cosine == pytest.approx((3 * float(one[0] @ one[1]) + float(two[0] @ two[1])) / 4, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"aggregation_method": "median"}, "no aggregation_method is called 'median'; there are weighted"),
        ({"model_weights": {"one": 1}}, r"must name the ensemble's models, one, two; see to \['two'\]"),
        ({"model_weights": {"one": 0, "two": 0}}, "not below 0 and not all 0"),
        ({"model_weights": {"one": float("nan"), "two": 1}}, "model_weights are finite"),
    ],
)
def test_an_ensemble_that_cannot_be_made_is_refused(settings: dict[str, Any], said: str) -> None:
    config = EnsembleConfig(ensemble_models=["one", "two"], **settings)
    with pytest.raises(UsageError, match=said):
        check_ensemble({"one": 4, "two": 4}, config)
    with pytest.raises(UsageError, match="max_pooling needs models of one dimension"):
        check_ensemble({"one": 4, "two": 8}, EnsembleConfig(aggregation_method="max_pooling"))
    assert check_ensemble({"one": 4, "two": 8}, EnsembleConfig(aggregation_method="concat")) == 12
    with pytest.raises(UsageError, match="the ensemble has no model"):
        check_ensemble({}, EnsembleConfig())
