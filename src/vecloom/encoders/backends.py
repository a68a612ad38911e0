"""Which backend, precision and device a row runs on: what was asked, what it offers, what is here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, TypeAlias, cast, get_args

from vecloom.arguments import check_text
from vecloom.encoders.pretrained import import_onnxruntime, import_torch
from vecloom.errors import DeviceError, MissingExtraError, UsageError
from vecloom.registry import ModelSpec

Backend: TypeAlias = Literal["native", "onnx", "openvino", "torch"]
Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

#: What each backend can compute in; the first is what it does unless asked otherwise.
_PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "native": ("fp32",),
    "onnx": ("fp32",),
    "openvino": ("fp32", "bf16"),
    "torch": ("fp32", "bf16", "fp16"),
}

#: Extra of the package -> the modules that it brings.
_EXTRAS: dict[str, tuple[str, ...]] = {"torch": ("torch", "transformers"), "openvino": ("openvino",)}


@dataclass(frozen=True, slots=True)
class How:
    """What a user asks of the way that models run; None where there is no wish.

    ``device``: ``auto``, ``cpu``, ``cuda`` (every GPU), or CUDA devices by name, ``cuda:0,cuda:1``.
    """

    backend: str | None = None
    precision: str | None = None
    device: str = "auto"
    task: str | None = None


#: No wish at all.
ANYHOW = How()


@dataclass(frozen=True, slots=True)
class Runs:
    """How a row is run. It decides the last digits of its vectors, so an index records it."""

    backend: Backend
    precision: Precision


def runs_of(specs: Sequence[ModelSpec], how: How) -> list[Runs]:
    """How each row is run: as asked where it offers that, else in its own first way.

    Raises:
        UsageError: no such backend, precision, device or task, or none of the rows has it.
        DeviceError: the device that is asked for is not there, or lacks the precision.
        MissingExtraError: a backend is not installed.
    """
    backends = [_backend(spec, how.backend) for spec in specs]
    if how.backend is not None and how.backend not in backends:
        raise UsageError(f"none of {_keys(specs)} runs on {how.backend}; see: vecloom models show")
    if how.task is not None and not any(how.task in spec.prompts for spec in specs):
        tasks = ", ".join(dict.fromkeys(task for spec in specs for task in spec.prompts)) or "none"
        raise UsageError(f"none of {_keys(specs)} knows the task {how.task!r}; there are {tasks}")
    check_device(specs, backends, how.device)
    for spec, backend in zip(specs, backends, strict=True):
        if any(find_spec(module) is None for module in _EXTRAS.get(backend, ())):
            raise MissingExtraError(spec.key, backend)
    precisions = [_precision(backend, how) for backend in backends]
    if how.precision is not None and how.precision not in precisions:
        raise UsageError(
            f"none of {_keys(specs)} runs in {how.precision} on {', '.join(dict.fromkeys(backends))}; "
            "another --backend may (vecloom models show)"
        )
    return [Runs(backend, precision) for backend, precision in zip(backends, precisions, strict=True)]


def check_device(specs: Sequence[ModelSpec], backends: Sequence[Backend], asked: str) -> None:
    """Refuse a device that means nothing, or that no row would use.

    Raises:
        UsageError: it is so.
    """
    named = () if asked == "auto" else _named(asked)
    movable = (
        backend == "torch" or spec.onnx_file is not None
        for spec, backend in zip(specs, backends, strict=True)
    )
    if any(name != "cpu" for name in named) and not any(movable):
        raise UsageError(f"none of {_keys(specs)} runs on {asked}, only on a CPU; leave --device out")


def precisions_of(backend: Backend) -> tuple[Precision, ...]:
    """What a backend can compute in."""
    return _PRECISIONS[backend]


def _keys(specs: Sequence[ModelSpec]) -> str:
    return ", ".join(spec.key for spec in specs)


def _backend(spec: ModelSpec, asked: str | None) -> Backend:
    if asked is not None and asked not in get_args(Backend):
        raise UsageError(f"no backend is called {asked!r}; there are onnx, torch and openvino")
    return cast("Backend", asked if asked in spec.backends else spec.backends[0])


def _precision(backend: Backend, how: How) -> Precision:
    if how.precision is not None and how.precision not in get_args(Precision):
        raise UsageError(f"no precision is called {how.precision!r}; there are fp32, bf16 and fp16")
    for precision in _PRECISIONS[backend]:
        if precision == how.precision:
            if backend == "torch":
                for device in devices_of(how.device):
                    require(device, precision)
            if backend == "openvino" and precision == "bf16":
                _require_bf16_of_openvino()
            return precision
    if backend == "torch" and how.precision is None:
        return best_precision(devices_of(how.device))
    return "fp32"


def query_runs(spec: ModelSpec, run: Runs, device: str) -> Runs:
    """How queries are encoded against vectors that ``run`` gave, on this machine.

    In float32 on a CPU whatever the documents were encoded in, because a single text takes no time, and in
    what a GPU has; by onnxruntime where the row offers that, because OpenVINO takes seconds to begin.
    """
    if run.backend == "torch":
        first = devices_of(device)[0]
        if first == "cpu" or (run.precision == "bf16" and not _has_bf16(first)):
            return Runs("torch", best_precision([first]))
    if run.backend == "openvino" and "onnx" in spec.backends:
        return Runs("onnx", "fp32")
    return run


def devices_of(asked: str) -> tuple[str, ...]:
    """The devices that PyTorch is to run on.

    Raises:
        DeviceError: a CUDA device is asked for that is not there.
        UsageError: the name means no device.
        MissingExtraError: PyTorch is not installed.
    """
    if asked == "cpu":
        return ("cpu",)
    torch = import_torch()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    everyone = tuple(f"cuda:{number}" for number in range(count))
    if asked == "auto":
        return everyone or ("cpu",)
    if asked == "cuda" and everyone:
        return everyone
    named = _named(asked)
    missing = [name for name in named if name != "cpu" and name not in everyone]
    if missing:
        raise DeviceError(
            f"PyTorch finds no {missing[0]} ({count} CUDA devices; torch {torch.__version__}); "
            "take --device cpu, or install a build of torch for CUDA"
        )
    return named


def onnx_devices_of(asked: str) -> tuple[str, ...]:
    """The devices that onnxruntime is to run on, where others than the CPU are asked for.

    Raises:
        DeviceError: this build of onnxruntime has no CUDA.
        UsageError: the name means no device.
    """
    named = tuple("cuda:0" if name == "cuda" else name for name in _named(asked))
    onnxruntime = import_onnxruntime()
    if any(map(_is_cuda, named)) and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        from vecloom.installation import format_install_command

        command = format_install_command(["onnxruntime-gpu"])
        raise DeviceError(f"onnxruntime here has no CUDA; {command}, or take --device cpu")
    return named


def memory_of(device: str) -> int:
    """Bytes of memory that a device has."""
    if device == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30
    return int(import_torch().cuda.get_device_properties(device).total_memory)


def _named(asked: str) -> tuple[str, ...]:
    """``cuda:0,cuda:1`` as names; ``cpu`` and ``cuda`` are one each."""
    named = tuple(name.strip() for name in check_text("device", asked).split(","))
    if asked != "cuda" and not all(name == "cpu" or _is_cuda(name) for name in named):
        raise UsageError(f"no device is called {asked!r}; name auto, cpu, cuda, or cuda:0,cuda:1 and so on")
    return named


def _is_cuda(name: str) -> bool:
    kind, _, number = name.partition(":")
    return kind == "cuda" and number.isdecimal()


def best_precision(devices: Sequence[str]) -> Precision:
    """What is fastest without a loss that shows: bf16 where every device has it, fp16 on other GPUs."""
    if "cpu" in devices:
        return "fp32"
    return "bf16" if all(map(_has_bf16, devices)) else "fp16"


def _has_bf16(device: str) -> bool:
    # Ampere and later; older ones only imitate it (`torch.cuda.is_bf16_supported` counts those in).
    return bool(import_torch().cuda.get_device_capability(device) >= (8, 0))


def require(device: str, precision: Precision) -> None:
    """Refuse a precision that a device has not, or only imitates.

    Raises:
        DeviceError: it has not.
    """
    if device != "cpu" and precision == "bf16" and not _has_bf16(device):
        name = import_torch().cuda.get_device_name(device)
        raise DeviceError(
            f"{device} ({name}) does not compute in bf16; take --precision fp16 (an index that was made in "
            "bf16 needs --rebuild for that), or another --device"
        )
    if device == "cpu" and precision == "fp16":
        raise DeviceError(
            "fp16 is slow and inexact on a CPU; take --precision bf16 or fp32 (an index that was made in "
            "fp16 needs --rebuild for that), or another --device"
        )


def _require_bf16_of_openvino() -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise DeviceError("this processor does not compute in bf16; take --precision fp32")
