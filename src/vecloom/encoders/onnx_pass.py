"""Any feature-extraction model in an ONNX file, as a user's own row names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import PassStats
from vecloom.encoders.onnx_file import OnnxFile
from vecloom.encoders.rows import Tokenising, last_token_of, limit_of, prompts_of, sized
from vecloom.encoders.tokens import TokenRows
from vecloom.errors import EncodingError
from vecloom.registry import ModelSpec, Role
from vecloom.types import SparseRows, Vectors


class OnnxEncoder(Tokenising):
    """One dense row over an ONNX file with BERT's inputs, by whatever names the row says.

    The output is the row's ``output`` or the file's first: [batch, tokens, hidden], pooled as the row says,
    or [batch, dim] as it is. How texts are run: see `OnnxFile`.
    """

    def __init__(
        self, spec: ModelSpec, folder: Path, device: str, threads: int, task: str | None = None
    ) -> None:
        """``folder`` holds ``tokenizer.json`` and the row's ``onnx_file``; neither is read before its use."""
        self.names: tuple[str, ...] = (spec.vector_name,)
        self._spec = spec
        self._folder = folder
        self._file = OnnxFile(spec, folder, device, threads)
        self._prompts = prompts_of([spec], task)
        self._limit = limit_of([spec])
        self._last_token = last_token_of([spec])

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
        return map(self._pool, self._file.outputs(rows.ids, rows.starts))

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
