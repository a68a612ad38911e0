"""The BERT pass on OpenVINO against the same graph on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from test_encoders_bert import TEXTS, dense_of, rows, same_rows, sparse_of
from tiny_bert import make_tiny_bert
from vecloom.config import Config
from vecloom.encoders.backends import How
from vecloom.encoders.bert import BertEncoder
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("model"))


def test_fp32_gives_what_onnxruntime_gives(tiny: Path, tmp_path: Path) -> None:
    exact = BertEncoder(rows(), tiny, tmp_path, threads=1)
    other = BertEncoder(rows(), tiny, tmp_path, threads=2, backend="openvino")
    np.testing.assert_allclose(dense_of(other, TEXTS), dense_of(exact, TEXTS), atol=1e-5)
    one, two = sparse_of(other, TEXTS), sparse_of(exact, TEXTS)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_allclose(one.values, two.values, atol=1e-4)


def test_a_text_gives_the_same_in_any_company(tiny: Path, tmp_path: Path) -> None:
    encoder = BertEncoder(rows(), tiny, tmp_path, threads=2, backend="openvino")
    texts = [*TEXTS * 2, *(f"open {n} connections" for n in range(50))]
    together = dense_of(encoder, texts)
    assert np.array_equal(dense_of(encoder, texts[::-1])[::-1], together)
    assert same_rows(sparse_of(encoder, texts), sparse_of(encoder, texts))


def test_an_index_records_openvino_and_is_searched_without_it(tmp_path: Path, tiny_config: Config) -> None:
    (tmp_path / "note.md").write_text("# Note\n\nRetry the connection.\n", "utf-8")
    models = ["minilm", "bm42", "bm25"]
    how = How(backend="openvino")
    with Index.create(tmp_path / "index", models, how=how, config=tiny_config) as index:
        index.add(tmp_path / "note.md")
        assert index.search("retry the connection")[0].legs["qdrant-minilm"]
    recorded = [(one.name, one.backend) for one in load_manifest(tmp_path / "index").models]
    assert recorded == [
        ("qdrant-minilm-onnx", "openvino"),
        ("qdrant-minilm-attention", "openvino"),
        ("qdrant-bm25", "native"),
    ]


def test_bf16_of_the_real_model_is_near(minilm_folder: Path, tmp_path: Path) -> None:
    """Where the processor has it; elsewhere the refusal is what is tested."""
    from vecloom.errors import DeviceError
    from vecloom.registry import Registry

    spec = Registry().find("qdrant-minilm-onnx")
    exact = dense_of(BertEncoder([spec], minilm_folder, tmp_path, threads=1), TEXTS)
    rough = BertEncoder([spec], minilm_folder, tmp_path, threads=1, backend="openvino", precision="bf16")
    try:
        found = dense_of(rough, TEXTS)
    except DeviceError as refused:
        assert "does not compute in bf16; take --precision fp32" in str(refused)
    else:
        assert ((found * exact).sum(axis=1) > 0.999).all()
