"""Which models an embedder runs, and how."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vecloom.compat.models import BACKENDS, Chosen, backend_of, choose_dense, choose_sparse, with_rows
from vecloom.compat.settings import KaggleGPUConfig
from vecloom.config import Config
from vecloom.encoders.backends import How, devices_of
from vecloom.errors import UsageError
from vecloom.registry import ModelSpec
from vecloom.standalone import TextEncoder

logger = logging.getLogger("vecloom.compat.v4")

#: V4's default: what asks for nothing in particular.
_DEFAULT_BACKEND = "pytorch"
_HALF = "fp16"


@dataclass(frozen=True, slots=True)
class Selection:
    """The models of an embedder. ``main``: whose vectors are V4's one, several where they are an ensemble."""

    main: tuple[Chosen, ...]
    companions: tuple[Chosen, ...]
    sparse: tuple[ModelSpec, ...]

    @property
    def dense(self) -> tuple[Chosen, ...]:
        """All dense models."""
        return (*self.main, *self.further)

    @property
    def further(self) -> tuple[Chosen, ...]:
        """The companions that are not among the main ones."""
        keys = [one.key for one in self.main]
        return tuple(one for one in self.companions if one.key not in keys)

    @property
    def dims(self) -> dict[str, int]:
        """Key -> width of the main models' vectors."""
        return {one.key: one.entry.vector_dim for one in self.main}

    @property
    def rows(self) -> tuple[ModelSpec, ...]:
        """The rows of all models."""
        return (*(one.row for one in self.dense), *self.sparse)

    @property
    def names(self) -> tuple[str, ...]:
        """All models, as the registry of `with_rows` finds them."""
        return (*(one.name for one in self.dense), *(row.key for row in self.sparse))


def select(
    config: Config,
    main: Sequence[str],
    companions: Sequence[str] = (),
    sparse: Sequence[str] = (),
    dim: int | None = None,
) -> Selection:
    """The models of these names. ``dim``: to what the first one's vectors are cut.

    Raises:
        UnknownModelError: a name that nobody knows.
        UsageError: a model of another kind, one that cannot be run, or a dimension that it does not offer.
    """
    registry = config.registry()
    first, *others = [choose_dense(name, registry) for name in main]
    if dim is not None:
        first = replace(first, entry=replace(first.entry, vector_dim=dim))
    chosen = Selection(
        (first, *others),
        tuple(choose_dense(name, registry) for name in companions),
        tuple(choose_sparse(name, registry) for name in sparse),
    )
    with_rows(config, chosen.rows).registry().select(chosen.names)  # what is asked twice, or too wide
    return chosen


def text_encoder(chosen: Selection, gpu: KaggleGPUConfig, config: Config) -> TextEncoder:
    """What runs the models, as V4's settings ask.

    Raises:
        UsageError: a backend or precision that cannot be had, or that no model has.
        DeviceError: a GPU lacks the precision.
        MissingExtraError: a model's backend is not installed.
    """
    how = how_to_run(chosen.rows, gpu)
    return TextEncoder(chosen.names, how=how, config=with_rows(config, chosen.rows), notice=logger.warning)


def how_to_run(rows: Sequence[ModelSpec], gpu: KaggleGPUConfig) -> How:
    """What V4's settings ask of the way that these models run.

    Raises:
        UsageError: a backend that cannot be had, or that none of the dense models has.
        MissingExtraError: a model runs on PyTorch, which is not installed.
    """
    backend: str | None = backend_of(gpu.backend)
    dense = [row for row in rows if row.kind == "dense"]
    if not any(backend in row.backends for row in dense):
        if gpu.backend != _DEFAULT_BACKEND:
            keys = ", ".join(row.key for row in dense)
            raise UsageError(f"none of {keys} runs on {gpu.backend!r}; see: vecloom models show")
        backend = None
    on_torch = any((backend if backend in row.backends else row.backends[0]) == "torch" for row in rows)
    precision = None if gpu.precision == _HALF else gpu.precision
    return How(backend, precision, torch_device(gpu) if on_torch else "cpu")


def torch_device(gpu: KaggleGPUConfig) -> str:
    """Where PyTorch runs: all GPUs as far as they may be used, the CPU where none may.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    if gpu.device_count < 1:
        return "cpu"
    gpus = [device for device in devices_of("auto") if device != "cpu"]
    return ",".join(gpus[: gpu.device_count]) if len(gpus) > gpu.device_count else "auto"


def v4_backend(backend: str) -> str:
    """A backend of vecloom's as V4 calls it."""
    return next((name for name, ours in BACKENDS.items() if ours == backend), backend)
