"""A BERT graph run by OpenVINO: the same graph and weights, in float32 or bfloat16."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.bert_graph import BertOutputs, BertShape
from vecloom.encoders.bert_session import cached_graph
from vecloom.encoders.tensors import TensorFile
from vecloom.errors import DeviceError, MissingExtraError

#: OpenVINO's names of precisions.
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenvinoSession:
    """One graph with its weights. `run` may be called from several threads at once: each has its own stream.

    Results do not depend on the batch: its texts are of one length, as for `vecloom.encoders.bert_session`.
    """

    def __init__(
        self,
        folder: Path,
        outputs: BertOutputs,
        shape: BertShape,
        cache_dir: Path,
        threads: int,
        precision: str,
    ) -> None:
        """Compile the graph over ``model.safetensors`` of ``folder`` for ``threads`` runs at a time.

        Raises:
            WeightsError: the file is no safetensors file, or lacks a tensor; or the cache cannot be written.
            MissingExtraError: OpenVINO is not installed.
            DeviceError: the processor does not compute in this precision.
        """
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("the backend openvino", "openvino") from None
        tensors = TensorFile(folder / "model.safetensors")
        graph, names = cached_graph(shape, outputs, tensors, cache_dir)
        core = openvino.Core()
        wanted = _PRECISIONS[precision]
        self._compiled = core.compile_model(
            core.read_model(model=_with_weights(graph, names, tensors)),
            "CPU",
            {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": wanted},
        )
        given = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if given != wanted:
            raise DeviceError(f"this processor does not compute in {precision}; take --precision fp32")
        self._threads = threading.local()

    def run(self, ids: NDArray[np.int32], output: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs named, for texts of one length: ``ids`` int32 [batch, tokens]."""
        request = getattr(self._threads, "request", None)
        if request is None:
            request = self._threads.request = self._compiled.create_infer_request()
        found = request.infer({0: ids})
        return [np.array(found[self._compiled.output(name)], dtype=np.float32) for name in output]


def _with_weights(graph: bytes, names: Sequence[str], tensors: TensorFile) -> bytes:
    """The graph as one piece: OpenVINO takes no weights from elsewhere."""
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load_from_string(graph)
    kept = [constant for constant in model.graph.initializer if constant.name not in set(names)]
    weights = [numpy_helper.from_array(np.ascontiguousarray(tensors[name]), name) for name in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *weights])
    return bytes(model.SerializeToString())
