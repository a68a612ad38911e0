"""Rerankers against sentence-transformers' CrossEncoder, and how a registry and its users treat them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.standins import make_reranker

from tiny_reranker import export_reranker, reference
from vecloom.cli import run
from vecloom.config import load_config
from vecloom.encoders import cross_encoder
from vecloom.encoders.cross_encoder import CrossEncoder, OnnxCrossEncoder
from vecloom.encoders.transformer import TokenBudget
from vecloom.errors import ConfigError, EncodingError, UnknownModelError, UsageError, WeightsError
from vecloom.index import Index
from vecloom.registry import Registry
from vecloom.standalone import Reranker

KINDS = {"ms-marco-v2": "bert", "sbert-distil": "roberta", "bge-reranker-v2": "xlm-roberta"}
QUERY = "retry the connection"
TEXTS = (
    "open the connection",
    "",
    "def retry(times: int) -> None:\n    open(the, connection)\n",
    "x" * 90,
    "retry the connection " * 60,
    "not",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    home = tmp_path_factory.mktemp("rerankers")
    return {key: make_reranker(home / key, kind) for key, kind in KINDS.items()}


def encoder_of(key: str, folder: Path) -> CrossEncoder:
    return CrossEncoder(Registry().reranker(key), folder, "cpu", "fp32")


@pytest.mark.parametrize("key", KINDS)
def test_scores_are_what_sentence_transformers_gives(key: str, folders: Mapping[str, Path]) -> None:
    spec = replace(Registry().reranker(key), max_tokens=128)
    found = CrossEncoder(spec, folders[key], "cpu", "fp32").scores(QUERY, TEXTS)
    np.testing.assert_allclose(found.values, reference(folders[key], QUERY, TEXTS), atol=1e-4)
    assert found.cut_texts == 1 and len(set(found.values.tolist())) == len(TEXTS)
    assert found.values.dtype == np.float32


@pytest.mark.parametrize("key", KINDS)
def test_an_onnx_file_gives_the_same_by_its_own_names(
    key: str, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[key], tmp_path / "onnx", ignore=shutil.ignore_patterns("*.safetensors"))
    export_reranker(folders[key], folder / "model.onnx")
    spec = replace(
        Registry().reranker(key), max_tokens=128, backends=("onnx",), onnx_file="model.onnx", output="logits"
    )
    found = OnnxCrossEncoder(spec, folder, "cpu", threads=2).scores(QUERY, TEXTS)
    np.testing.assert_allclose(found.values, reference(folders[key], QUERY, TEXTS), atol=1e-4)
    assert found.cut_texts == 1 and found.values.dtype == np.float32
    alone = OnnxCrossEncoder(spec, folder, "cpu", threads=1)
    assert [alone.scores(QUERY, [text]).values.item() for text in TEXTS] == found.values.tolist()
    assert alone.scores(QUERY, []).values.shape == (0,)


def test_an_onnx_file_that_does_not_rerank_is_told(tmp_path: Path) -> None:
    spec = replace(
        Registry().reranker("ms-marco-v2"), max_tokens=128, backends=("onnx",), onnx_file="model.onnx"
    )
    three = make_reranker(tmp_path / "three", num_labels=3)
    export_reranker(three, three / "model.onnx")
    with pytest.raises(WeightsError, match=r"model\.onnx' gives 3 numbers for a pair; ms-marco-v2 needs a"):
        OnnxCrossEncoder(spec, three, "cpu", 1).scores(QUERY, TEXTS)
    with pytest.raises(WeightsError, match="has no output 'score'; it has logits"):
        OnnxCrossEncoder(replace(spec, output="score"), three, "cpu", 1).scores(QUERY, TEXTS)
    with pytest.raises(EncodingError, match=r"refuses a text of 186 tokens \(the row's max_tokens is 300;"):
        OnnxCrossEncoder(replace(spec, max_tokens=300), three, "cpu", 1).scores("retry", ["open the " * 91])
    import torch
    from transformers import BertForSequenceClassification

    bad = make_reranker(tmp_path / "bad")
    model = BertForSequenceClassification.from_pretrained(bad)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(bad)
    export_reranker(bad, bad / "model.onnx")
    with pytest.raises(EncodingError, match="ms-marco-v2 gives NaN or infinity, as for the text 'open the"):
        OnnxCrossEncoder(spec, bad, "cpu", 1).scores(QUERY, TEXTS)


@pytest.mark.parametrize("key", KINDS)
def test_small_batches_give_the_same_and_the_models_own_limit_holds(
    key: str, folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoder_of(key, folders[key]).scores(QUERY, TEXTS)
    small = encoder_of(key, folders[key])
    monkeypatch.setattr(cross_encoder, "TokenBudget", lambda tokens: TokenBudget(20))
    np.testing.assert_allclose(small.scores(QUERY, TEXTS).values, whole.values, atol=1e-5)
    assert whole.cut_texts == 1, "130 positions, whatever the row says"
    assert encoder_of(key, folders[key]).scores(QUERY, []).values.shape == (0,)


def test_where_memory_runs_out_a_batch_is_halved_and_a_pair_is_told(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    key = "ms-marco-v2"
    whole = encoder_of(key, folders[key]).scores(QUERY, TEXTS)
    encoder = encoder_of(key, folders[key])
    model, room = encoder._model, 200

    def limited(**inputs: Any) -> Any:
        if inputs["input_ids"].numel() > room:
            raise torch.OutOfMemoryError("no room")
        return model(**inputs)

    monkeypatch.setattr(encoder, "_model", limited)
    np.testing.assert_allclose(encoder.scores(QUERY, TEXTS).values, whole.values, atol=1e-5)
    room = 20
    with pytest.raises(EncodingError, match=r"a query and a text of .* tokens do not fit the memory of cpu"):
        encoder.scores(QUERY, TEXTS)


def test_another_model_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="tells of 3 labels; ms-marco-v2 needs a model with one"):
        encoder_of("ms-marco-v2", make_reranker(tmp_path / "three", num_labels=3))
    folder = make_reranker(tmp_path / "odd")
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "num_hidden_layers": 4}))
    with pytest.raises(WeightsError, match="lacks 16 tensors"):
        encoder_of("ms-marco-v2", folder).scores(QUERY, TEXTS)


def test_nan_is_an_error_that_names_the_model(tmp_path: Path) -> None:
    import torch

    encoder = encoder_of("ms-marco-v2", make_reranker(tmp_path / "nan"))
    with torch.no_grad():
        encoder._model.classifier.bias.fill_(float("nan"))
    with pytest.raises(EncodingError, match="ms-marco-v2 gives NaN or infinity, as for the text 'open the"):
        encoder.scores(QUERY, TEXTS)


def test_a_reranker_is_found_by_its_names_and_gives_no_vector(tmp_path: Path) -> None:
    registry = Registry()
    assert registry.reranker("BAAI/bge-reranker-v2-m3").key == "bge-reranker-v2"
    with pytest.raises(
        UsageError, match="bge-m3 gives dense vectors and does not rerank; there are ms-marco"
    ):
        registry.reranker("bge-m3")
    with pytest.raises(UnknownModelError, match=r"no model is called 'ms-marko'; nearest: .*ms-marco"):
        registry.reranker("ms-marko")
    with pytest.raises(UsageError, match=r"jina-reranker cannot be run: .* code of its repository"):
        registry.reranker("jina-reranker")
    with pytest.raises(UsageError, match="ms-marco-v2 is a reranker"):
        registry.select(["bm25", "ms-marco-v2"])
    with pytest.raises(UsageError, match="ms-marco-v2 is a reranker"):
        registry.find("ms-marco-v2").vector_field  # noqa: B018
    with pytest.raises(UsageError, match="ms-marco-v2 is a reranker"):
        Index.create(tmp_path / "index", ["ms-marco-v2"])
    assert not (tmp_path / "index").exists()


def test_rows_whose_attention_cannot_be_had_are_refused_with_the_reason() -> None:
    for key in ("gte-qwen2-1.5b", "Alibaba-NLP/gte-Qwen2-7B-instruct"):
        with pytest.raises(UsageError, match=r"cannot be run: its attention looks both ways by code of its"):
            Registry().select([key])


def test_a_row_of_ones_own_is_a_reranker_and_is_verified(
    folders: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "config.toml"
    row = f'[models.mine]\nfolder = "{folders["ms-marco-v2"]}"\nkind = "reranker"\nmax_tokens = 128\n'
    file.write_text(row, "utf-8")
    config = load_config(file=file, cache_dir=tmp_path / "cache")
    found = Reranker("mine", config=config).scores(QUERY, TEXTS)
    np.testing.assert_allclose(found.values, reference(folders["ms-marco-v2"], QUERY, TEXTS), atol=1e-4)
    monkeypatch.setenv("VECLOOM_CONFIG", str(file))
    monkeypatch.setenv("VECLOOM_CACHE_DIR", str(tmp_path / "cache"))
    assert run(["models", "verify", "mine"]) == 0
    assert "unknown golden" in capsys.readouterr().out
    assert run(["models", "pull", "mine"]) == 0
    for more, said in (
        ("dim = 8", "a reranker has none"),
        ('backends = ["openvino"]', r"a reranker runs on torch or on onnx, one of them"),
        ('backends = ["torch", "onnx"]', r"a reranker runs on torch or on onnx, one of them"),
        ('backends = ["onnx"]', "onnx_file is missing: a reranker runs on onnx from a file of its own"),
        ('onnx_file = "model.onnx"', "such a row runs on onnx alone"),
    ):
        file.write_text(row + more + "\n", "utf-8")
        with pytest.raises(ConfigError, match=said):
            load_config(file=file)
