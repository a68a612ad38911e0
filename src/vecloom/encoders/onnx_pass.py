"""Any feature-extraction model in an ONNX file, as a user's own row names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import PassStats
from vecloom.encoders.rows import Tokenising, last_token_of, limit_of, prompts_of, sized
from vecloom.encoders.tokens import TokenRows
from vecloom.errors import DeviceError, EncodingError, WeightsError
from vecloom.registry import ModelSpec, Role
from vecloom.types import SparseRows, Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: What an input called so is given; every text is alone in its run, so nothing is padded or masked.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_INTEGERS: Mapping[str, Any] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEncoder(Tokenising):
    """One dense row over an ONNX file with BERT's inputs, by whatever names the row says.

    The output is the row's ``output`` or the file's first: [batch, tokens, hidden], pooled as the row says,
    or [batch, dim] as it is. One text a run, because a quantised model scales by all that it is given at
    once: so a text's vector depends on that text alone. ``threads`` runs go on at a time.
    """

    def __init__(
        self, spec: ModelSpec, folder: Path, device: str, threads: int, task: str | None = None
    ) -> None:
        """``folder`` holds ``tokenizer.json`` and the row's ``onnx_file``; neither is read before its use."""
        self.names: tuple[str, ...] = (spec.vector_name,)
        self._spec = spec
        self._folder = folder
        self._device = device
        self._threads = threads if device == "cpu" else 1
        self._prompts = prompts_of([spec], task)
        self._limit = limit_of([spec])
        self._last_token = last_token_of([spec])

    @cached_property
    def _session(self) -> InferenceSession:
        import onnxruntime

        kind, _, number = self._device.partition(":")
        provider = _PROVIDERS[kind]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = self._folder / str(self._spec.onnx_file)
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

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        """Vectors of stored texts.

        Raises:
            EncodingError: the model gave NaN or infinity, or vectors of another width than the row's.
            WeightsError: its file cannot be read, or is of another kind.
        """
        rows, vectors = self._encode(texts, "document")
        tokens = len(rows.ids)
        return vectors, PassStats(len(texts), tokens, tokens, rows.cut_texts, rows.cut_tokens)

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, Vectors]:
        """Vectors of search queries, behind the queries' prompt."""
        return self._encode(texts, "query")[1]

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """There are none: the row is dense."""
        del texts, rows
        return {}

    def _encode(self, texts: Sequence[str], role: Role) -> tuple[TokenRows, dict[str, Vectors]]:
        rows = self._tokenized(texts, role)
        found = [np.empty((0, self._spec.dim or 0), dtype=np.float32), *self._pooled(rows)]
        widths = {part.shape[-1] for part in found[1:]}
        if widths - {max((self._spec.dim or 0, *self._spec.matryoshka_dims))}:
            raise EncodingError(
                f"{self._spec.key}: the row says dim {self._spec.dim}, the model gives {widths.pop()}; "
                "correct the row"
            )
        vectors = np.concatenate([sized(self._spec, part) for part in found])
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise EncodingError(
                f"the model in {str(self._folder)!r} gives NaN or infinity, as for the text "
                f"{texts[int(bad[0])][:60]!r}; check its files: vecloom models verify "
                f"{self._spec.key}"
            )
        return rows, {self._spec.vector_name: vectors}

    def _pooled(self, rows: TokenRows) -> Iterator[NDArray[np.float32]]:
        """[1, width] of each text, normalised where the row says so."""
        if not len(rows.lengths):
            return
        session = self._session  # opened before any thread asks for it
        given = {one.name: _INTEGERS.get(one.type, np.int64) for one in session.get_inputs()}
        wanted = [self._spec.output or session.get_outputs()[0].name]

        def run(text: int) -> NDArray[np.float32]:
            ids = rows.ids[rows.starts[text] : rows.starts[text + 1]][None]
            values: dict[str, NDArray[Any]] = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
                "position_ids": np.arange(ids.shape[1])[None],
            }
            inputs = {name: values[self._usual(name)].astype(kind) for name, kind in given.items()}
            return self._pool(np.asarray(session.run(wanted, inputs)[0], dtype=np.float32))

        with ThreadPoolExecutor(self._threads, thread_name_prefix="vecloom-onnx") as pool:
            yield from pool.map(run, range(len(rows.lengths)))

    def _usual(self, name: str) -> str:
        """The usual name of an input of the file."""
        return self._spec.inputs.get(name, name)

    def _pool(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        pooled = output
        if output.ndim == 3:
            match self._spec.pooling:
                case "cls":
                    pooled = output[:, 0]
                case "last":
                    pooled = output[:, -1]
                case _:
                    pooled = output.mean(axis=1)
        if self._spec.normalise:
            pooled = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return pooled
