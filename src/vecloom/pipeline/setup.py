"""Models to what runs them: the passes, the chunker, and which vectors are stored when."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.config import Config
from vecloom.encoders.backends import ANYHOW, How, Runs, runs_of
from vecloom.encoders.load import Pass, devices_for, passes_of
from vecloom.engine import Encoded, EncodingStage, Engine, Window
from vecloom.errors import IndexMismatchError, WeightsError
from vecloom.recipe import R
from vecloom.registry import ModelSpec
from vecloom.runners import Runner, Serial
from vecloom.weights import Weights, unheard

if TYPE_CHECKING:
    from vecloom.encoders.cross_encoder import PairScorer
    from vecloom.pipeline.reading import ChunkSettings


def passes_for(
    specs: Sequence[ModelSpec],
    config: Config,
    notice: Callable[[str], None] = unheard,
    runs: Sequence[Runs] | None = None,
    how: How = ANYHOW,
) -> list[Pass]:
    """The passes that rows need, run as ``runs`` says, or as asked.

    The models' files are fetched if they are not here yet, and nothing is loaded.

    Raises:
        UsageError: a row that cannot be run as asked.
        WeightsError: a model's files cannot be had.
        DeviceError: the device that is asked for is not there.
    """
    runs = runs_of(specs, how) if runs is None else runs
    folder_of = Weights(config, notice).folder
    return passes_of(specs, runs, folder_of, config.cache_dir, cores(), how.device, how.task)


def engine_of(passes: Sequence[Pass]) -> Engine:
    """An engine over the passes, each on its first device."""
    return Engine(one.load() for one in passes)


def with_pooling(spec: ModelSpec, config: Config, notice: Callable[[str], None] = unheard) -> ModelSpec:
    """A dense row; where it says no pooling, with that of the model's own files, which are fetched for it.

    Raises:
        WeightsError: they cannot be had, or do not say it.
    """
    if spec.kind != "dense" or spec.pooling is not None:
        return spec
    from vecloom.weights.pooling import published_pooling

    return replace(spec, pooling=published_pooling(Weights(config, notice).folder(spec), spec.key))


def runner_for(group: Sequence[Pass], notice: Callable[[str], None]) -> Runner[Window, Encoded]:
    """Who encodes by passes that run together: this process on its CPU, else a process a device."""
    devices = group[0].devices
    if devices == ("cpu",):
        return Serial(EncodingStage(group, "cpu"))
    from vecloom.runners.pool import Pool

    return Pool(partial(EncodingStage, group), devices, notice)


def cross_encoder_for(
    spec: ModelSpec, config: Config, notice: Callable[[str], None] = unheard, how: How = ANYHOW
) -> PairScorer:
    """The cross-encoder of a reranker's row, on the first of the devices; its files are fetched if need be.

    Raises:
        UsageError: the row cannot be run as asked.
        WeightsError: its files cannot be had, or are no cross-encoder's.
        DeviceError: the device that is asked for is not there.
        MissingExtraError: the row runs on PyTorch, which is not installed.
    """
    from vecloom.encoders.cross_encoder import CrossEncoder, OnnxCrossEncoder

    (run,) = runs_of([spec], how)
    device, *_ = devices_for(spec, run, how.device)
    folder = Weights(config, notice).folder(spec)
    if run.backend == "onnx":
        return OnnxCrossEncoder(spec, folder, device, cores())
    return CrossEncoder(spec, folder, device, run.precision)


def weights_hash(spec: ModelSpec, config: Config, notice: Callable[[str], None]) -> str:
    """16 hex digits over the sha256 of the row's files (fetched if need be); "" where it has none."""
    if spec.weights_id is None:
        return ""
    weights = Weights(config, notice)
    weights.folder(spec)
    origin = weights.origin(spec)
    if origin is None:
        raise WeightsError(f"the files of {spec.key} are gone again; run: vecloom models pull {spec.key}")
    names = sorted(file.path for file in spec.files) or sorted(origin.files)
    said = json.dumps([[name, origin.files[name].sha256] for name in names])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def pinned(
    recipe: R,
    specs: Sequence[ModelSpec],
    names: Sequence[str],
    config: Config,
    notice: Callable[[str], None],
) -> R:
    """The recipe with the hashes of these vectors' models' files, which must be those it was made with.

    Raises:
        IndexMismatchError: they are others.
        WeightsError: they cannot be had.
    """
    models = []
    for record, spec in zip(recipe.models, specs, strict=True):
        found = record.weights_hash
        if record.vector_name in names:
            found = weights_hash(spec, config, notice)
        if record.weights_hash not in ("", found):
            raise IndexMismatchError(
                f"the files of {record.name} are not those that the {recipe.noun} was made with; bring those "
                f"back, or {recipe.anew}"
            )
        models.append(replace(record, weights_hash=found))
    return replace(recipe, models=tuple(models))


def chunking_for(
    counted_by: Sequence[str], engine: Engine, tokens: int, overlap: int, cache_dir: Path
) -> ChunkSettings:
    """Chunks counted as the models of these vectors do, or in words where there are none.

    Grammars are unpacked below ``cache_dir``.
    """
    from vecloom.pipeline.reading import ChunkSettings

    counters = [encoder.counting for encoder in engine.encoders if set(counted_by) & set(encoder.names)]
    return ChunkSettings(tuple(counters), tokens, overlap, str(cache_dir))


def instant_names(specs: Sequence[ModelSpec]) -> tuple[str, ...]:
    """The vectors that cost next to nothing and are stored with the points."""
    return tuple(spec.vector_name for spec in specs if "native" in spec.backends)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
