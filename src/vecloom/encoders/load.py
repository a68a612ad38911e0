"""Which encoders serve a choice of rows, and what a process needs to load one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vecloom.encoders import Encoder
from vecloom.encoders.backends import (
    Backend,
    Precision,
    Runs,
    devices_of,
    memory_of,
    onnx_devices_of,
    require,
)
from vecloom.encoders.bert import BertEncoder
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.bm25_code import Bm25CodeEncoder
from vecloom.encoders.pretrained import DTYPE_BYTES
from vecloom.encoders.tensors import TensorFile
from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec

#: Share of a device's memory that weights may take together.
_WEIGHTS_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows that come out of one forward, and how that is run: all that a process needs to load it.

    ``folder`` holds the files that the rows share (None where they need none). ``devices``: where it may
    run, one encoder on each. ``threads``: how many a CPU gives it.
    """

    specs: tuple[ModelSpec, ...]
    folder: Path | None
    backend: Backend
    precision: Precision
    devices: tuple[str, ...]
    cache_dir: Path
    threads: int
    task: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The vectors that it yields."""
        return tuple(spec.vector_name for spec in self.specs)

    @property
    def weight_bytes(self) -> int:
        """What the weights take in memory, as they are loaded; 0 where there are none."""
        if self.folder is None:
            return 0
        if (onnx_file := self.specs[0].onnx_file) is not None:
            return (self.folder / onnx_file).stat().st_size
        files = map(TensorFile, self.folder.glob("*.safetensors"))
        values = sum(math.prod(shape) for file in files for shape in file.sizes.values())
        return values * DTYPE_BYTES[self.precision]

    def load(self, device: str | None = None) -> Encoder:
        """The encoder, on ``device`` or the first one. It reads the config now, the rest on first use.

        Raises:
            WeightsError: the config cannot be read, or tells of an architecture that the backend cannot run.
            ConfigError: the rows ask for different things of one pass.
            EncodingError: a row's dimension is not the model's.
        """
        if self.folder is None:
            spec = self.specs[0]
            identifiers = spec.settings.get("words") == "identifiers"
            return Bm25CodeEncoder(spec) if identifiers else Bm25Encoder(spec)
        if self.backend == "torch":
            from vecloom.encoders.torch_pass import TorchEncoder

            place = device or self.devices[0]
            return TorchEncoder(self.specs, self.folder, place, self.precision, self.threads, self.task)
        if self.specs[0].onnx_file is not None:
            from vecloom.encoders.onnx_pass import OnnxEncoder

            place = device or self.devices[0]
            return OnnxEncoder(self.specs[0], self.folder, place, self.threads, self.task)
        return BertEncoder(
            self.specs, self.folder, self.cache_dir, self.threads, self.backend, self.precision, self.task
        )


def passes_of(
    specs: Sequence[ModelSpec],
    runs: Sequence[Runs],
    folder_of: Callable[[ModelSpec], Path],
    cache_dir: Path,
    threads: int,
    device: str = "auto",
    task: str | None = None,
) -> list[Pass]:
    """One pass for each forward that the rows need, in the order of their first rows.

    Rows of one ``shared_pass``, with the same weights, the same length and run alike, come out of one
    forward. ``folder_of`` gives the folder of a row's files, which rows of one pass share; built graphs are
    kept in ``cache_dir``.

    Raises:
        WeightsError: a model's files cannot be had.
        DeviceError: the device that is asked for is not there, or lacks a row's precision.
        MissingExtraError: a backend is not installed.
    """
    grouped: dict[object, list[tuple[ModelSpec, Runs]]] = {}
    for spec, run in zip(specs, runs, strict=True):
        grouped.setdefault((_pass_of(spec), run), []).append((spec, run))
    passes = []
    for pairs in grouped.values():
        first, run = pairs[0]
        passes.append(
            Pass(
                specs=tuple(spec for spec, _ in pairs),
                folder=None if run.backend == "native" else _folder([spec for spec, _ in pairs], folder_of),
                backend=run.backend,
                precision=run.precision,
                devices=devices_for(first, run, device),
                cache_dir=cache_dir,
                threads=threads,
                task=task,
            )
        )
    return passes


def _folder(specs: Sequence[ModelSpec], folder_of: Callable[[ModelSpec], Path]) -> Path:
    """The one folder that holds the files of rows that share a pass."""
    folders = {folder_of(spec): spec.key for spec in specs}
    if len(folders) > 1:
        places = "; ".join(f"those of {key} in {folder}" for folder, key in folders.items())
        raise WeightsError(f"rows of one pass have different files ({places}); name the same in each row")
    return next(iter(folders))


def devices_for(spec: ModelSpec, run: Runs, asked: str) -> tuple[str, ...]:
    """PyTorch runs where it is best; a user's ONNX file on other devices than the CPU only when asked.

    Raises:
        DeviceError: the device that is asked for is not there, or lacks the precision.
    """
    if run.backend == "torch":
        devices = devices_of(asked)
        for device in devices:  # an index may have been made on another machine
            require(device, run.precision)
        return devices
    if spec.onnx_file is not None and asked not in ("auto", "cpu"):
        return onnx_devices_of(asked)
    return ("cpu",)


def groups_of(passes: Sequence[Pass]) -> list[list[Pass]]:
    """Passes that run together over a window: those of one choice of devices, as far as their weights fit."""
    groups: list[list[Pass]] = []
    for one in sorted(passes, key=lambda one: one.devices):
        last = groups[-1] if groups else []
        together = sum(other.weight_bytes for other in (*last, one))
        if last and last[0].devices == one.devices and together <= _room(one.devices):
            last.append(one)
        else:
            groups.append([one])
    return groups


def _room(devices: Sequence[str]) -> float:
    """Bytes that weights may take on the smallest of the devices: the rest is for what is computed."""
    return _WEIGHTS_SHARE * min(map(memory_of, devices))


def _pass_of(spec: ModelSpec) -> object:
    return spec.shared_pass or spec.key, spec.weights or spec.hub_id, spec.onnx_file, spec.max_tokens
