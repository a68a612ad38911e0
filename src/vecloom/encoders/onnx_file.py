"""A session over the ONNX file that a user's row names, one text or pair at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.pretrained import import_onnxruntime
from vecloom.errors import DeviceError, EncodingError, WeightsError
from vecloom.registry import ModelSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: What an input called so is given; every text is alone in its run, so nothing is padded or masked.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_INTEGERS: Mapping[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxFile:
    """The row's ``onnx_file``, with BERT's inputs, by whatever names the row says.

    One text a run, because a quantised model scales by all that it is given at once: so what a text gives
    depends on that text alone. ``threads`` runs go on at a time.
    """

    def __init__(self, spec: ModelSpec, folder: Path, device: str, threads: int) -> None:
        """``folder`` holds the file, which is not read before its use."""
        self._spec = spec
        self._path = folder / str(spec.onnx_file)
        self._device = device
        self._threads = threads if device == "cpu" else 1

    def outputs(
        self, ids: NDArray[np.int32], starts: NDArray[np.int64], types: NDArray[np.int32] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The row's ``output``, or the file's first, of each text, in order.

        Text i is ``ids[starts[i]:starts[i + 1]]``; ``types``: which of a pair's two texts a token belongs to.

        Raises:
            WeightsError: the file cannot be read, or is of another kind.
            EncodingError: the model refuses a text, as one that is too long for it.
        """
        if len(starts) < 2:
            return
        session = self._session  # opened before any thread asks for it
        given = {one.name: _INTEGERS.get(one.type, np.int64) for one in session.get_inputs()}
        wanted = [self._spec.output or session.get_outputs()[0].name]

        def run(text: int) -> NDArray[np.float32]:
            span = slice(starts[text], starts[text + 1])
            row = ids[span][None]
            values: dict[str, NDArray[Any]] = {
                "input_ids": row,
                "attention_mask": np.ones_like(row),
                "token_type_ids": np.zeros_like(row) if types is None else types[span][None],
                "position_ids": np.arange(row.shape[1])[None],
            }
            inputs = {name: values[self._usual(name)].astype(kind) for name, kind in given.items()}
            try:
                return np.asarray(session.run(wanted, inputs)[0], dtype=np.float32)
            except Exception as error:
                said = " ".join(str(error).split())[:200]
                raise EncodingError(
                    f"{self._spec.key} refuses a text of {row.shape[1]} tokens (the row's max_tokens is "
                    f"{self._spec.max_tokens}; correct it if the model takes less): {said}"
                ) from error

        with ThreadPoolExecutor(self._threads, thread_name_prefix="vecloom-onnx") as pool:
            yield from pool.map(run, range(len(starts) - 1))

    @cached_property
    def _session(self) -> InferenceSession:
        onnxruntime = import_onnxruntime()
        kind, _, number = self._device.partition(":")
        provider = _PROVIDERS[kind]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it would say of an error, the error says
        path = self._path
        places: list[Any] = [(provider, {"device_id": int(number or 0)}) if kind == "cuda" else provider]
        try:
            session = onnxruntime.InferenceSession(path, options, providers=places, enable_fallback=0)
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise WeightsError(f"{str(path)!r} cannot be loaded: {said}") from error
        if provider not in session.get_providers():
            raise DeviceError(f"onnxruntime cannot run on {self._device} here; take --device cpu")
        unknown = [one.name for one in session.get_inputs() if self._usual(one.name) not in _INPUTS]
        if unknown:
            raise WeightsError(
                f"{str(path)!r} has an input {unknown[0]!r}; say in the row which of {', '.join(_INPUTS)} it "
                f'is: inputs = {{ {unknown[0]} = "..." }}'
            )
        outputs = [one.name for one in session.get_outputs()]
        if self._spec.output not in (None, *outputs):
            raise WeightsError(
                f"{str(path)!r} has no output {self._spec.output!r}; it has {', '.join(outputs)}"
            )
        return session

    def _usual(self, name: str) -> str:
        """The usual name of an input of the file."""
        return self._spec.inputs.get(name, name)
