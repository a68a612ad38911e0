"""Plain texts to vectors without an index: windows, several models, queries, costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecloom
from vecloom.config import Config
from vecloom.encoders.backends import How
from vecloom.engine import Engine
from vecloom.errors import UnknownModelError, UsageError
from vecloom.pipeline import filling
from vecloom.pipeline.report import Progress
from vecloom.pipeline.setup import engine_of, passes_for
from vecloom.standalone import TextEncoder, encode_texts, generate_sparse_vectors
from vecloom.types import SparseRows, Vectors

MODELS = ("jina-code-embeddings-1.5b:16", "bge-m3", "bge-m3-colbert", "minilm", "bm42", "bm25")
TEXTS = (
    "open the connection",
    "",
    "retry",
    "open the connection",
    "running " * 700,
    "def retry(): open(the)",
)
ON_CPU = How(device="cpu")


def engine_for(models: tuple[str, ...], config: Config, how: How = ON_CPU) -> Engine:
    return engine_of(passes_for(config.registry().select(models), config, how=how))


def same(one: Vectors, other: Vectors, atol: float = 0.0) -> None:
    if isinstance(one, SparseRows):
        assert isinstance(other, SparseRows)
        np.testing.assert_array_equal(one.indptr, other.indptr)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_allclose(one.values, other.values, atol=atol, rtol=0)
    else:
        assert not isinstance(other, SparseRows) and len(one) == len(other)
        for row, twin in zip(one, other, strict=True):
            np.testing.assert_allclose(row, twin, atol=atol, rtol=0)


def test_windows_give_what_one_call_of_the_engine_gives(
    seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, stats = engine_for(MODELS, seed_config).encode_documents(TEXTS)
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 2)
    events: list[Progress] = []
    found = TextEncoder(MODELS, how=ON_CPU, config=seed_config).documents(TEXTS, listener=events.append)
    assert set(found.vectors) == {
        "jina-code-1.5b",
        "bge-m3",
        "bge-m3-colbert",
        "qdrant-minilm",
        "minilm-attention",
        "bm25",
    }
    for name, vectors in expected.items():
        same(found.vectors[name], vectors)
    assert found.windows == 3 and found.terms == {}
    assert np.asarray(found.vectors["jina-code-1.5b"]).shape == (len(TEXTS), 16)
    cost = found.costs["qdrant-minilm"]
    assert (cost.texts, cost.reused, cost.cut_texts) == (5, 1, 1) and cost.cut_tokens > 0
    assert found.costs["bm25"].cut_texts == 0
    assert stats.texts == sum(
        found.costs[name].texts for name in ("jina-code-1.5b", "bge-m3", "bm25", "qdrant-minilm")
    )
    assert [event.done for event in events] == [2, 4, 5] and events[-1].whole == 1.0
    assert all(event.total == 5 for event in events)


def test_terms_stand_beside_every_index(seed_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmh3

    monkeypatch.setattr(filling, "WINDOW_TEXTS", 2)
    encoder = TextEncoder(["bge-m3-sparse", "minilm", "bm42", "bm25"], how=ON_CPU, config=seed_config)
    found = encoder.documents(TEXTS, terms=True)
    assert set(found.terms) == {"bge-m3-sparse", "minilm-attention", "bm25"}
    for name in ("bm25", "minilm-attention"):
        for text, entry in zip(TEXTS, found.sparse_lists(name), strict=True):
            assert entry["indices"] == [abs(mmh3.hash(stem)) for stem in entry["tokens"]]
            assert len(entry["values"]) == len(entry["indices"]) > 0 or not text
    assert all(len(e["tokens"]) == len(e["indices"]) for e in found.sparse_lists("bge-m3-sparse"))
    with pytest.raises(ValueError, match="'qdrant-minilm' is no sparse vector"):
        found.sparse_lists("qdrant-minilm")


def test_no_texts_give_empty_vectors_of_full_width(seed_config: Config) -> None:
    found = encode_texts([], ["bge-m3", "bge-m3-colbert", "bm25"], how=ON_CPU, config=seed_config)
    assert np.asarray(found.vectors["bge-m3"]).shape == (0, 64)
    assert found.vectors["bge-m3-colbert"] == [] and len(found.vectors["bm25"]) == 0


def test_queries_get_their_own_prompt_and_task(seed_config: Config) -> None:
    models = ("nomic-coderank", "jina-code")
    engine = engine_for(models, seed_config, How(device="cpu", task="qa"))
    how = How(device="cpu", task="qa")
    encoder = TextEncoder(models, how=how, config=seed_config)
    for name, expected in engine.encode_queries(TEXTS[:3]).items():
        same(encoder.queries(TEXTS[:3])[name], expected)
        given = encode_texts(TEXTS[:3], models, role="query", how=how, config=seed_config)
        same(given.vectors[name], expected)
        assert given.costs == {}
        document = encoder.documents(TEXTS[:3]).vectors[name]
        assert not np.allclose(np.asarray(document), np.asarray(expected))


def test_workers_give_the_same(
    seed_config: Config, monkeypatch: pytest.MonkeyPatch, pool_workers: list[Any]
) -> None:
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 2)
    models = ["nomic-coderank", "bge-m3-sparse", "bm25"]
    alone = encode_texts(TEXTS, models, how=How(device="cpu", precision="fp32"), config=seed_config)
    pair = TextEncoder(models, how=How(device="cpu,cpu", precision="fp32"), config=seed_config)
    together = pair.documents(TEXTS, terms=True)
    for name, vectors in alone.vectors.items():
        same(together.vectors[name], vectors, atol=1e-5)
    assert set(together.terms) == {"bge-m3-sparse", "bm25"}
    assert len(pool_workers) == 2 and all(worker.process.poll() is not None for worker in pool_workers)


def test_what_cannot_be_run_is_refused_before_anything_is_fetched(seed_config: Config) -> None:
    for models, how, said in (
        (["bge-m3"], How(backend="onnx"), "none of bge-m3 runs on onnx"),
        (["ms-marco-v2"], ON_CPU, "ms-marco-v2 is a reranker"),
        (["gte-qwen2-7b"], ON_CPU, "gte-qwen2-7b cannot be run"),
        ([], ON_CPU, "no model was named"),
    ):
        with pytest.raises(UsageError, match=said):
            TextEncoder(models, how=how, config=seed_config)
    with pytest.raises(UnknownModelError, match="no model is called 'bge-m4'"):
        encode_texts(["a"], ["bge-m4"], config=seed_config)


def test_sparse_vectors_as_plain_lists(minilm_folder: Path) -> None:
    assert minilm_folder.is_dir(), "the real weights are here"
    found = generate_sparse_vectors(["opening connections", ""])
    assert set(found) == {"bm25", "attention"}
    first, empty = found["bm25"]
    assert [*first] == ["indices", "values", "tokens"] and sorted(first["tokens"]) == ["connect", "open"]
    assert all(type(value) is float for value in first["values"])
    assert all(type(index) is int for index in first["indices"])
    assert empty == {"indices": [], "values": [], "tokens": []}
    assert sorted(found["attention"][0]["tokens"]) == ["connect", "open"]
    assert vecloom.generate_sparse_vectors is generate_sparse_vectors
