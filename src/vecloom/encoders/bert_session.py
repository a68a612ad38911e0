"""A BERT graph over mapped weights, ready to run: the graph's file is cached, the weights stay in theirs."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecloom.durable import parse_json
from vecloom.encoders.bert_graph import GRAPH_VERSION, BertOutputs, BertShape, build_graph
from vecloom.encoders.pretrained import import_onnxruntime
from vecloom.encoders.tensors import TensorFile

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class BertSession:
    """One graph with its weights. `run` may be called from several threads at once."""

    def __init__(
        self, folder: Path, outputs: BertOutputs, shape: BertShape, cache_dir: Path, threads: int
    ) -> None:
        """Open ``model.safetensors`` of ``folder``; ``threads`` work on one run.

        Raises:
            WeightsError: the file is no safetensors file, or lacks a tensor.
        """
        tensors = TensorFile(folder / "model.safetensors")
        graph, names = cached_graph(shape, outputs, tensors, cache_dir)
        self._weights = [tensors[name] for name in names]
        self._session = _open(graph, names, self._weights, threads)

    def run(self, ids: NDArray[np.int32], output: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs named, for texts of one length: ``ids`` int32 [batch, tokens]."""
        found: list[NDArray[np.float32]] = self._session.run(output, {"ids": ids})
        return found


def _open(
    graph: bytes, names: Sequence[str], weights: Sequence[NDArray[np.float32]], threads: int
) -> InferenceSession:
    """A session that reads its weights from the arrays given, which must outlive it.

    Threads do not spin while they wait: others want the cores. Optimisations are off: see `bert_graph`.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_pattern = False  # a plan is kept for every shape, and batches have many
    options.log_severity_level = 3
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights]
    options.add_external_initializers(list(names), values)  # or the graph is refused: its file has no weights
    for name, value in zip(names, values, strict=True):
        options.add_initializer(name, value)  # or every tensor is copied
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def cached_graph(
    shape: BertShape, outputs: BertOutputs, tensors: TensorFile, cache_dir: Path
) -> tuple[bytes, list[str]]:
    """The graph, and the names of its weights: from the cache where there is a whole file of it."""
    sizes = sorted(tensors.sizes.items())
    said = json.dumps([GRAPH_VERSION, astuple(shape), astuple(outputs), sizes])
    path = cache_dir / "graphs" / f"bert-{hashlib.sha256(said.encode()).hexdigest()[:32]}.onnx"
    found = _read(path)
    if found is None:
        found = build_graph(shape, outputs, tensors.sizes)
        _write(path, *found)
    return found


def _read(path: Path) -> tuple[bytes, list[str]] | None:
    """What `_write` wrote, or None where it is missing or damaged."""
    try:
        head, _, graph = path.read_bytes().partition(b"\n")
        said = parse_json(head)
        names, digest = said["weights"], said["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (graph, names) if hashlib.sha256(graph).hexdigest() == digest else None


def _write(path: Path, graph: bytes, names: Sequence[str]) -> None:
    """A line of JSON (the graph's sha256, the names of its weights), then the graph; whole or not at all.

    In a cache that cannot be written nothing is kept: the next process builds the graph again.
    """
    head = json.dumps({"sha256": hashlib.sha256(graph).hexdigest(), "weights": names})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}.") as place:
            part = Path(place) / path.name
            part.write_bytes(head.encode() + b"\n" + graph)
            part.replace(path)
    except OSError:
        return
