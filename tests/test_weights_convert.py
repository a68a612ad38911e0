"""Torch files are converted once, in a process of their own, and only where that was said."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.standins import WIDTH, make_m3

from hub_standin import Hub, serving
from vecloom.config import Config
from vecloom.encoders.backends import How, Runs
from vecloom.encoders.load import passes_of
from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec, Registry
from vecloom.weights import Weights
from vecloom.weights.origin import RECORD, Origin, sha256_of

M3 = ("bge-m3", "bge-m3-sparse", "bge-m3-colbert")
MINE = ModelSpec(
    key="mine",
    hub_id="someone/mine",
    vector_name="mine",
    kind="dense",
    dim=WIDTH,
    pooling="cls",
    licence="MIT",
    backends=("torch",),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny bge-m3 as its repository holds it: nothing but torch files."""
    import torch
    from safetensors.torch import load_file

    folder = make_m3(tmp_path_factory.mktemp("m3"))
    buffer = io.BytesIO()
    torch.save(load_file(folder / "model.safetensors"), buffer)
    names = ("config.json", "tokenizer.json", "sparse_linear.pt", "colbert_linear.pt")
    return {"pytorch_model.bin": buffer.getvalue(), **{name: (folder / name).read_bytes() for name in names}}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path / "data", tmp_path / "cache", tmp_path / "config.toml", order=("folder", "hub"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def tiny(key: str) -> ModelSpec:
    spec = Registry().find(key)
    return replace(spec, dim=WIDTH if spec.dim else None, recommended_tokens=100, max_tokens=100)


def test_the_registrys_torch_files_are_converted_on_the_first_pull(
    config: Config, hub: Hub, files: dict[str, bytes]
) -> None:
    hub.publish("BAAI/bge-m3", files)
    weights = Weights(config)
    specs = [tiny(key) for key in M3]
    runs = [Runs("torch", "fp32")] * 3
    (one,) = passes_of(specs, runs, weights.folder, config.cache_dir, 1, How(device="cpu").device)
    assert one.folder is not None
    there = {path.name for path in one.folder.iterdir()}
    assert there >= {"model.safetensors", "sparse_linear.safetensors", "colbert_linear.safetensors"}
    assert not [name for name in there if name.endswith((".bin", ".pt"))]
    origin = Origin.read(one.folder / RECORD)
    assert origin is not None
    assert origin.converted["model.safetensors"][0] == "pytorch_model.bin"
    vectors, _ = one.load().encode_documents(["open the connection"])
    assert set(vectors) == set(M3) and np.isfinite(np.asarray(vectors["bge-m3"])).all()
    hub.publish("BAAI/bge-m3", {})
    assert Weights(config).folder(specs[2]) == one.folder, "nobody is asked again"


def test_a_damaged_conversion_is_made_again_from_the_same_file(
    config: Config, hub: Hub, files: dict[str, bytes]
) -> None:
    hub.publish("BAAI/bge-m3", files)
    spec = tiny("bge-m3")
    folder = Weights(config).folder(spec)
    whole = sha256_of(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert sha256_of(Weights(config).pull(spec) / "model.safetensors") == whole


def test_a_users_pickle_is_refused_until_they_say_so(
    config: Config, hub: Hub, files: dict[str, bytes]
) -> None:
    some = {name: files[name] for name in ("pytorch_model.bin", "config.json", "tokenizer.json")}
    hub.publish("someone/mine", some)
    with pytest.raises(WeightsError, match=r"only as pytorch_model\.bin, a pickle; .*pull mine --convert"):
        Weights(config).folder(MINE)
    folder = Weights(config).pull(MINE, convert=True)
    assert Weights(config).folder(MINE) == folder
    assert (folder / "model.safetensors").is_file() and not (folder / "pytorch_model.bin").exists()


def test_a_local_folder_is_converted_aside_and_stays_as_it_was(
    config: Config, tmp_path: Path, files: dict[str, bytes]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name, data in files.items():
        (here / name).write_bytes(data)
    local = replace(config, folders={"BAAI/bge-m3": here, "someone/mine": here})
    found = Weights(local).folder(tiny("bge-m3-sparse"))
    assert found != here and (found / "sparse_linear.safetensors").is_file()
    assert {path.name for path in here.iterdir()} == set(files)
    assert Weights(local).folder(tiny("bge-m3-sparse")) == found
    (here / "sparse_linear.pt").touch()
    assert Weights(local).folder(tiny("bge-m3-sparse")) != found, "a file that changed is converted again"
    with pytest.raises(WeightsError, match="pull mine --convert"):
        Weights(local).folder(MINE)
    mine = Weights(local).pull(MINE, convert=True)
    assert Weights(local).folder(MINE) == mine


def test_several_torch_files_and_their_index_are_converted(
    config: Config, hub: Hub, files: dict[str, bytes]
) -> None:
    import torch
    from safetensors.numpy import load_file

    tensors = torch.load(io.BytesIO(files["pytorch_model.bin"]))
    names = sorted(tensors)
    parts: dict[str, bytes] = {}
    where: dict[str, str] = {}
    for number, half in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        buffer = io.BytesIO()
        torch.save({name: tensors[name] for name in half}, buffer)
        parts[file] = buffer.getvalue()
        where |= dict.fromkeys(half, file)
    index = json.dumps({"metadata": {}, "weight_map": where}).encode()
    small = {name: files[name] for name in ("config.json", "tokenizer.json")}
    hub.publish("someone/mine", {**parts, **small, "pytorch_model.bin.index.json": index})
    folder = Weights(config).pull(MINE, convert=True)
    said = json.loads((folder / "model.safetensors.index.json").read_bytes())
    assert set(said["weight_map"].values()) == {f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    assert {n for file in set(said["weight_map"].values()) for n in load_file(folder / file)} == set(names)
    (one,) = passes_of(
        [replace(MINE, max_tokens=100)], [Runs("torch", "fp32")], lambda _: folder, config.cache_dir, 1, "cpu"
    )
    assert np.isfinite(np.asarray(one.load().encode_documents(["open"])[0]["mine"])).all()


class Evil:
    """What a pickle may hold: a call that is made when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_would_run_code_runs_none(
    config: Config, hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    evil = pickle.dumps({"weight": Evil(tmp_path / "mark")})
    hub.publish("someone/mine", {**files, "pytorch_model.bin": evil})
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin cannot be converted: it is damaged, or hol"):
        Weights(config).pull(MINE, convert=True)
    assert not (tmp_path / "mark").exists()
