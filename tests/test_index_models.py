"""The seed's six vectors in one point: several models over one corpus, on ONNX, PyTorch and none."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.standins import WIDTH

from changing_tree import ChangingTree
from commands import Commands
from stored import contents
from vecloom.config import Config
from vecloom.encoders import backends
from vecloom.encoders.backends import How, Runs, query_runs, runs_of
from vecloom.errors import DeviceError, IndexMismatchError, MissingExtraError, UsageError
from vecloom.index import Index
from vecloom.pipeline import filling
from vecloom.pipeline.manifest import load_manifest, record_in
from vecloom.pipeline.report import Progress
from vecloom.recipe import Asked
from vecloom.registry import Registry

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
        hits = index.search("retry the connection", limit=5, fusion="rrf")
        by_default = index.search("retry the connection", limit=5)
        for name in VECTORS:
            assert index.search("retry the connection", using=[name]), name
        assert {record.runs.backend for record in load_manifest(index.folder).models} == {
            "torch",
            "onnx",
            "native",
        }
    assert status.vectors == dict.fromkeys(VECTORS, report.points)
    assert set().union(*(hit.legs for hit in hits)) == set(VECTORS)
    assert set().union(*(hit.legs for hit in by_default)) == set(VECTORS) - {"minilm-attention"}
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


def test_any_number_of_workers_gives_the_same(
    tree: Path, tmp_path: Path, seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 3)
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


def test_a_worker_that_dies_costs_an_index_run_nothing(
    tree: Path,
    tmp_path: Path,
    seed_config: Config,
    monkeypatch: pytest.MonkeyPatch,
    pool_workers: list[Any],
) -> None:
    models = ["nomic-coderank", "bge-m3"]
    with Index.create(tmp_path / "clean", models, how=ON_CPU, config=seed_config) as index:
        index.add(tree)
        clean = contents(index)
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 3)
    killed: list[str] = []
    said: list[str] = []

    def kill_one(event: Progress) -> None:
        assert event.step != "encode" or event.detail, "nothing is encoded for no vector"
        if event.step == "encode" and event.done and not killed:
            pool_workers[0].process.kill()
            killed.append(pool_workers[0].device)

    how = How(device="cpu,cpu", precision="fp32")
    with Index.create(tmp_path / "killed", models, how=how, config=seed_config, notice=said.append) as index:
        index.add(tree, listener=kill_one)
        found = contents(index)
    assert killed and any("the worker on cpu died (signal SIGKILL)" in line for line in said)
    assert found.keys() == clean.keys()
    for point, (payload, vectors) in clean.items():
        assert found[point][0] == payload
        for name, vector in vectors.items():
            np.testing.assert_allclose(found[point][1][name], vector, atol=1e-5)


def test_the_commands_index_and_search_six_vectors(
    tree: Path, tmp_path: Path, seed_environ: dict[str, str]
) -> None:
    vecloom = Commands(seed_environ, tmp_path)
    done = vecloom.run("index", tree, "--models", ",".join(SEED), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    found = vecloom.run("search", "retry the connection", "--json", "--limit", "5", "--fusion", "rrf")
    assert found.returncode == 0, found.stderr
    hits = [json.loads(line) for line in found.stdout.splitlines()]
    assert set().union(*(hit["legs"] for hit in hits)) == set(VECTORS)
    status = json.loads(vecloom.run("status", "--json").stdout)
    assert status["vectors"] == dict.fromkeys(VECTORS, status["points"])
    assert status["runs"]["bge-m3"] == "torch, fp32"


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
        with index._home.access.open("test") as store:
            matrix = next(store.scroll(vectors=["bge-m3-colbert"])).vectors["bge-m3-colbert"]
    assert matrix.shape[1] == WIDTH and matrix.shape[0] > 1


def test_matrices_are_taken_over_from_equal_texts(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    (tmp_path / "copy").mkdir()
    with Index.create(tmp_path / "index", ["bge-m3-colbert"], how=ON_CPU, config=seed_config) as index:
        first = index.add(tree)
        shutil.copytree(tree, tmp_path / "copy" / "tree")
        second = index.add(tmp_path / "copy" / "tree", source="copy")
        assert second.new == first.points and second.reused > 1
        stored: dict[str, list[Any]] = {}
        with index._home.access.open("test") as store:
            for record in store.scroll(fields=["header", "text"], vectors=["bge-m3-colbert"]):
                text = record.payload["header"] + record.payload["text"]
                stored.setdefault(text, []).append(record.vectors["bge-m3-colbert"])
    for one, *others in stored.values():
        assert others
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_windows_end_at_a_sum_of_bytes_too() -> None:
    sizes = np.array([50, 40, 30, 20, 10, 10])
    backlog = filling.Backlog(np.zeros((6, 16), np.uint8), np.arange(7), sizes)
    cut = [(task.number, len(task.groups), task.size) for task in backlog.windows(filling.WindowSize(3, 60))]
    assert cut == [(0, 1, 50), (1, 1, 40), (2, 3, 60), (5, 1, 10)]
    assert [len(task.groups) for task in backlog.windows(filling.WindowSize(2, 10**9))] == [2, 2, 2]
    assert [len(task.groups) for task in backlog.windows(filling.WindowSize(9, 1))] == [1] * 6


def test_a_cut_dimension_is_recorded_and_stored(tree: Path, tmp_path: Path, seed_config: Config) -> None:
    name = "jina-code-embeddings-1.5b:16"
    with Index.create(tmp_path / "index", [name], how=ON_CPU, config=seed_config) as index:
        index.add(tree)
        assert index.models == (name,)
        with index._home.access.open("test") as store:
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
        with Index.create(tmp_path / "old", models, how=ON_CPU, config=seed_config):
            pass
        with pytest.raises(UsageError, match=said):
            Index.prepare(tmp_path / "old", Asked(how=how), config=seed_config)
        shutil.rmtree(tmp_path / "old")
    assert not (tmp_path / "index").exists()
    for device, said in (
        ("cuda", "none of qdrant-bm25 runs on cuda, only on a CPU"),
        ("tpu", "no device is"),
    ):
        with pytest.raises(UsageError, match=said):
            Index.create(tmp_path / "index", ["bm25"], how=How(device=device), config=seed_config)


def test_a_recorded_precision_that_this_machine_lacks_is_refused(tmp_path: Path, seed_config: Config) -> None:
    with Index.create(tmp_path / "index", ["nomic-coderank"], how=ON_CPU, config=seed_config) as index:
        (tmp_path / "note.md").write_text("# Note\n\nOpen the connection.\n", "utf-8")
        (model,) = load_manifest(index.folder).models
        record_in(index.folder, models=(replace(model, precision="fp16"),))
        with pytest.raises(DeviceError, match=r"fp16 is slow .* made in fp16 needs --rebuild"):
            index.add(tmp_path / "note.md")


def test_a_gpu_without_bf16_is_told_and_given_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Registry().find("nomic-coderank")
    monkeypatch.setattr(backends, "devices_of", lambda asked: ("cuda:0",))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    with pytest.raises(
        DeviceError, match=r"cuda:0 \(Tesla T4\) does not compute in bf16; take --precision fp16"
    ):
        runs_of([spec], How(precision="bf16"))
    assert runs_of([spec], How()) == [Runs("torch", "fp16")]
    assert query_runs(spec, Runs("torch", "bf16"), "auto") == Runs("torch", "fp16")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    assert runs_of([spec], How()) == [Runs("torch", "bf16")]
    assert query_runs(spec, Runs("torch", "bf16"), "auto") == Runs("torch", "bf16")


def test_a_backend_that_is_not_installed_is_told_before_anything_is_made(
    tmp_path: Path, seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    for model, how, said in (
        ("nomic-coderank", ON_CPU, "nomic-coderank needs .*pip install .*torch>="),
        ("minilm", How(backend="openvino"), "qdrant-minilm-onnx needs .*pip install .*openvino>="),
    ):
        with pytest.raises(MissingExtraError, match=said):
            Index.create(tmp_path / "index", [model], how=how, config=seed_config)
    assert not (tmp_path / "index").exists()


def test_a_model_that_takes_the_budget_joins_an_index_and_cuts_nothing(
    tmp_path: Path, seed_config: Config
) -> None:
    """MiniLM recommends 256 tokens and takes 512."""
    (tmp_path / "long.txt").write_text("open the connection and retry\n" * 400, "utf-8")
    asked = Asked(("nomic-coderank",), 512, how=ON_CPU)
    with Index.prepare(tmp_path / "index", asked, config=seed_config) as index:
        index.add(tmp_path / "long.txt")
    asked = Asked(("nomic-coderank", "minilm"), how=ON_CPU)
    with Index.prepare(tmp_path / "index", asked, config=seed_config) as index:
        report = index.add(tmp_path / "long.txt")
    assert report.encoded["qdrant-minilm"] > 1
    assert report.cut["qdrant-minilm"].texts == 0
