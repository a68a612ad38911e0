"""A user's own ONNX file: inputs, output, pooling, int8, and what is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.peers.models import export_bert
from numpy.typing import NDArray

from test_encoders_bert import TEXTS, dense_of, rows
from tiny_bert import HIDDEN, make_tiny_bert
from vecloom.config import load_config
from vecloom.encoders.backends import How
from vecloom.encoders.bert import BertEncoder
from vecloom.encoders.onnx_pass import OnnxEncoder
from vecloom.errors import ConfigError, DeviceError, EncodingError, WeightsError
from vecloom.index import Index
from vecloom.registry import ModelSpec, Pooling

LIMIT = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT with its ONNX export, and that once more in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    place = make_tiny_bert(tmp_path_factory.mktemp("onnx"))
    (place / "onnx").mkdir()
    export_bert(place, place / "onnx" / "model.onnx")
    quantize_dynamic(place / "onnx" / "model.onnx", place / "int8.onnx", weight_type=QuantType.QInt8)
    return place


def row(**changes: object) -> ModelSpec:
    spec = ModelSpec(
        key="mine",
        hub_id=None,
        vector_name="mine",
        kind="dense",
        licence="unknown",
        backends=("onnx",),
        dim=HIDDEN,
        max_tokens=LIMIT,
        pooling="mean",
        normalise=True,
        onnx_file="onnx/model.onnx",
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def encoded(
    spec: ModelSpec, folder: Path, texts: Sequence[str] = TEXTS, threads: int = 2
) -> NDArray[np.float32]:
    vectors, _ = OnnxEncoder(spec, folder, "cpu", threads).encode_documents(texts)
    return np.asarray(vectors["mine"])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_export_gives_what_our_own_graph_gives(pooling: Pooling, folder: Path, tmp_path: Path) -> None:
    ours = BertEncoder([replace(rows()[0], pooling=pooling)], folder, tmp_path, threads=1)
    found = encoded(row(pooling=pooling), folder)
    np.testing.assert_allclose(found, dense_of(ours, TEXTS), atol=2e-6)
    assert (found[1] != found[2]).any()


def test_last_pooling_matryoshka_and_no_norm(folder: Path) -> None:
    last = encoded(row(pooling="last"), folder)
    assert not np.allclose(last, encoded(row(), folder))
    cut = encoded(row(dim=8, matryoshka_dims=(8, HIDDEN)), folder)
    whole = encoded(row(), folder)[:, :8]
    np.testing.assert_allclose(cut, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(np.linalg.norm(encoded(row(normalise=False), folder), axis=1), 1)


def test_a_quantised_file_gives_a_text_the_same_in_any_company(folder: Path) -> None:
    spec = row(onnx_file="int8.onnx")
    together = encoded(spec, folder)
    for place, text in enumerate(TEXTS):
        assert np.array_equal(encoded(spec, folder, [text], threads=1)[0], together[place])
    assert ((together * encoded(row(), folder)).sum(axis=1) > 0.95).all()
    assert not np.array_equal(together, encoded(row(), folder))


def test_inputs_of_other_names_are_told_apart_by_the_row(folder: Path, tmp_path: Path) -> None:
    import onnx

    shutil.copytree(folder, tmp_path / "named")
    model = onnx.load(folder / "onnx" / "model.onnx")
    for place in (model.graph.input, *(node.input for node in model.graph.node)):
        for number, one in enumerate(place):
            if isinstance(one, str):
                place[number] = "tokens" if one == "input_ids" else one
            elif one.name == "input_ids":
                one.name = "tokens"
    onnx.save(model, tmp_path / "named" / "onnx" / "model.onnx")
    with pytest.raises(WeightsError, match=r"has an input 'tokens'; say .*inputs = { tokens = \"\.\.\.\" }"):
        encoded(row(), tmp_path / "named")
    named = encoded(row(inputs={"tokens": "input_ids"}), tmp_path / "named")
    np.testing.assert_array_equal(named, encoded(row(), folder))


def test_an_index_of_a_users_row(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[models.mine]\nfolder = "{folder}"\nonnx_file = "onnx/model.onnx"\nbackends = ["onnx"]\n'
        f'dim = {HIDDEN}\npooling = "mean"\nnormalise = true\nmax_tokens = 64\n'
        'prompts = { find = { query = "open: ", document = "" } }\n',
        "utf-8",
    )
    config = load_config(
        file=tmp_path / "config.toml", data_dir=tmp_path, cache_dir=tmp_path / "cache", environ={}
    )
    (tmp_path / "note.md").write_text("# Note\n\nOpen the connection.\n", "utf-8")
    with Index.create(tmp_path / "index", ["mine", "bm25"], config=config) as index:
        report = index.add(tmp_path / "note.md")
        assert report.encoded["mine"] == report.points == 1
        assert set(index.search("connection")[0].legs) == {"mine", "bm25"}


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncodingError, match=f"the row says dim 7, the model gives {HIDDEN}"):
        encoded(row(dim=7), folder)
    with pytest.raises(WeightsError, match="has no output 'pooled'; it has last_hidden_state"):
        encoded(row(output="pooled"), folder)
    with pytest.raises(WeightsError, match=r"'.*config\.json' cannot be loaded"):
        encoded(row(onnx_file="config.json"), folder)
    with pytest.raises(DeviceError, match=r"onnxruntime here has no CUDA; .*pip install onnxruntime-gpu"):
        write_row(tmp_path, folder, "onnx/model.onnx", '["onnx"]')
        config = load_config(file=tmp_path / "config.toml", data_dir=tmp_path, cache_dir=tmp_path, environ={})
        Index.create(tmp_path / "index", ["mine"], how=How(device="cuda"), config=config)
    for onnx_file, backends, said in (
        ("../model.onnx", '["onnx"]', "does not stay in its folder"),
        ("model.onnx", '["torch"]', "such a row runs on onnx alone"),
    ):
        write_row(tmp_path, folder, onnx_file, backends)
        with pytest.raises(ConfigError, match=said):
            load_config(file=tmp_path / "config.toml", environ={})


def write_row(place: Path, folder: Path, onnx_file: str, backends: str) -> None:
    (place / "config.toml").write_text(
        f'[models.mine]\nfolder = "{folder}"\nonnx_file = "{onnx_file}"\nbackends = {backends}\n'
        f'dim = {HIDDEN}\npooling = "mean"\nmax_tokens = 64\n',
        "utf-8",
    )
