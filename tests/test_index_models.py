"""The seed's six vectors in one point: several models over one corpus, on ONNX, PyTorch and none."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from bench.standins import WIDTH

from changing_tree import ChangingTree
from stored import contents
from vecloom.config import Config
from vecloom.encoders.backends import How
from vecloom.errors import DeviceError, IndexMismatchError, UsageError
from vecloom.index import Index
from vecloom.pipeline import filling
from vecloom.pipeline.manifest import Asked, load_manifest
from vecloom.pipeline.report import Progress

SEED = (
    "jina-code-embeddings-1.5b",
    "bge-m3",
    "nomic-coderank",
    "qdrant-minilm-onnx",
    "qdrant-bm25",
    "qdrant-minilm-attention",
)
VECTORS = ("jina-code-1.5b", "bge-m3", "nomic-coderank", "qdrant-minilm", "bm25", "minilm-attention")
ON_CPU = How(device="cpu")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    ChangingTree(tmp_path / "tree", random.Random(5)).change()
    return tmp_path / "tree"


def test_six_vectors_in_one_point_and_each_is_a_leg(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    events: list[Progress] = []
    with Index.create(tmp_path / "index", SEED, how=ON_CPU, config=seed_config) as index:
        report = index.add(tree, listener=events.append)
        status = index.status()
        hits = index.search("retry the connection", limit=5)
        for name in VECTORS:
            assert index.search("retry the connection", using=[name]), name
        assert {record.runs.backend for record in load_manifest(index.folder).models} == {
            "torch",
            "onnx",
            "native",
        }
    assert status.vectors == dict.fromkeys(VECTORS, report.points)
    assert set().union(*(hit.legs for hit in hits)) == set(VECTORS)
    encoded = [event for event in events if event.step == "encode" and event.whole is not None]
    assert [event.whole for event in encoded] == sorted(event.whole or 0 for event in encoded)
    assert encoded[-1].whole == 1.0
    assert len({event.detail for event in encoded}) == 1, "they fit together, and so run together"


def test_models_that_do_not_fit_together_run_one_after_the_other(
    tree: Path, tmp_path: Path, seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Index.create(tmp_path / "together", SEED, how=ON_CPU, config=seed_config) as index:
        index.add(tree)
        together = contents(index)
    monkeypatch.setattr("vecloom.encoders.load._WEIGHTS_SHARE", 0.0)
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 3)
    events: list[Progress] = []
    with Index.create(tmp_path / "apart", SEED, how=ON_CPU, config=seed_config) as index:
        index.add(tree, listener=events.append)
        assert contents(index) == together
    details = [event.detail for event in events if event.step == "encode"]
    assert list(dict.fromkeys(details)) == [
        "jina-code-1.5b",
        "bge-m3",
        "nomic-coderank",
        "qdrant-minilm, minilm-attention",
    ]


def test_any_number_of_workers_gives_the_same(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    found = []
    for device in ("cpu", "cpu,cpu"):
        folder = tmp_path / device
        how = How(device=device, precision="fp32")
        with Index.create(folder, ["nomic-coderank", "bge-m3"], how=how, config=seed_config) as index:
            index.add(tree)
            found.append(contents(index))
    assert found[0].keys() == found[1].keys()
    for point, (payload, vectors) in found[0].items():
        assert found[1][point][0] == payload
        for name, vector in vectors.items():
            np.testing.assert_allclose(found[1][point][1][name], vector, atol=1e-5)


def test_heads_of_bge_m3_share_its_pass_and_are_searched(
    tree: Path, tmp_path: Path, seed_config: Config
) -> None:
    models = ["bge-m3", "bge-m3-sparse", "bge-m3-colbert"]
    with Index.create(tmp_path / "index", models, how=ON_CPU, config=seed_config) as index:
        report = index.add(tree)
        assert index.status().vectors == dict.fromkeys(models, report.points)
        hits = index.search("retry the connection", using=["bge-m3-colbert", "bge-m3-sparse"])
        assert hits and {*hits[0].legs} == {"bge-m3-colbert", "bge-m3-sparse"}
        by_default = index.search("retry the connection")
        assert "bge-m3-colbert" not in set().union(*(hit.legs for hit in by_default))
        with index._access.open("test") as store:
            matrix = next(store.scroll(vectors=["bge-m3-colbert"])).vectors["bge-m3-colbert"]
    assert matrix.shape[1] == WIDTH and matrix.shape[0] > 1


def test_a_cut_dimension_is_recorded_and_stored(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    name = "jina-code-embeddings-1.5b:16"
    with Index.create(tmp_path / "index", [name], how=ON_CPU, config=seed_config) as index:
        index.add(tree)
        assert index.models == (name,)
        with index._access.open("test") as store:
            assert store.schema.vectors[0].dim == 16
        assert index.search("retry the connection")


def test_a_task_is_recorded_and_serves_the_queries_that_share_its_documents(
    tree: Path, tmp_path: Path, seed_config: Config
) -> None:
    jina = "jina-code-embeddings-1.5b"
    folder = tmp_path / "index"
    with Index.create(folder, [jina, "qdrant-bm25"], how=ON_CPU, config=seed_config) as index:
        index.add(tree)
        plain, twin = (index.search("retry", using=[jina], task=task) for task in (None, "code2code"))
        assert [hit.score for hit in plain] and {hit.id for hit in plain}
        assert plain[0].legs["jina-code-1.5b"].score != twin[0].legs["jina-code-1.5b"].score
        with pytest.raises(UsageError, match="does not serve qa; make the index anew"):
            index.search("retry", task="qa")
        with pytest.raises(
            UsageError, match="no model of the index knows the task 'nothing'; there are nl2code"
        ):
            index.search("retry", task="nothing")
    with pytest.raises(
        IndexMismatchError, match="does not serve qa; make the index anew with --rebuild --task qa"
    ):
        Index.prepare(folder, Asked(how=How(task="qa")), config=seed_config)
    with Index.create(tmp_path / "qa", [jina], how=How(device="cpu", task="qa"), config=seed_config) as index:
        index.add(tree)
        assert index.search("retry", limit=3) and index.search("retry", task="qa")


def test_what_an_index_was_computed_with_is_kept(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    folder = tmp_path / "index"
    with Index.create(
        folder, ["nomic-coderank", "bm25"], how=How("torch", "bf16", "cpu"), config=seed_config
    ) as index:
        index.add(tree)
        assert index.search("retry"), "queries are encoded in fp32 here"
    record = load_manifest(folder).models[0]
    assert (record.backend, record.precision) == ("torch", "bf16")
    with pytest.raises(IndexMismatchError, match="nomic-coderank were computed with bf16, not fp32"):
        Index.prepare(folder, Asked(how=How(precision="fp32")), config=seed_config)
    with Index.prepare(folder, Asked(), config=seed_config) as index:
        assert index.add(tree).unchanged


def test_what_this_machine_lacks_is_said(tmp_path: Path, seed_config: Config) -> None:
    models = ["nomic-coderank"]
    for how, said in (
        (How(device="cuda"), "PyTorch finds no cuda"),
        (How(device="cuda:7"), "PyTorch finds no cuda:7"),
        (How(device="cpu", precision="fp16"), "fp16 is slow and inexact on a CPU"),
    ):
        with pytest.raises(DeviceError, match=said):
            Index.create(tmp_path / "index", models, how=how, config=seed_config)
    for how, said in (
        (How(device="tpu"), "no device is called 'tpu'"),
        (How(backend="tensorrt"), "no backend is called 'tensorrt'"),
        (How(backend="onnx"), "none of nomic-coderank runs on onnx"),
        (How(precision="int4"), "no precision is called 'int4'"),
        (How(task="nothing"), "none of nomic-coderank knows the task 'nothing'; there are nl2code"),
    ):
        with pytest.raises(UsageError, match=said):
            Index.create(tmp_path / "index", models, how=how, config=seed_config)
    assert not (tmp_path / "index").exists()
