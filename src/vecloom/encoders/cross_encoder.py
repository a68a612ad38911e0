"""Rerankers: a query and a text read together by one transformer that gives one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.onnx_file import OnnxFile
from vecloom.encoders.pretrained import import_torch, load_pretrained, moved
from vecloom.encoders.rows import limit_of
from vecloom.encoders.tensors import read_config
from vecloom.encoders.tokens import FileTokenizer, PairRows, shared_tokenizer
from vecloom.encoders.transformer import TokenBudget, tokens_that_fit
from vecloom.errors import EncodingError, WeightsError
from vecloom.registry import ModelSpec

#: Architectures that count positions from behind the padding token's id.
_SHIFTED = ("roberta", "xlm-roberta")


@dataclass(frozen=True, slots=True)
class PairScores:
    """``values`` float32 [texts], as the model's last layer gives them; ``cut_texts``: pairs cut for it."""

    values: NDArray[np.float32]
    cut_texts: int


class PairScorer(Protocol):
    """A model that reads a query and a text together."""

    def scores(self, query: str, texts: Sequence[str]) -> PairScores:
        """A number for each text, higher where it answers the query better.

        Raises:
            EncodingError: the model gave NaN or infinity, or a pair does not fit the device's memory.
            WeightsError: the model's files cannot be read, or tell of no model with one label.
        """
        ...


class CrossEncoder:
    """A transformer for sequence classification with one label, by transformers' own class.

    Pairs go through it longest first, padded to the longest of a batch of the token budget.
    """

    def __init__(self, spec: ModelSpec, folder: Path, device: str, precision: str) -> None:
        """``folder`` holds ``config.json``, ``tokenizer.json`` and safetensors; only the config is read here.

        Raises:
            WeightsError: it cannot be read, or tells of no model with one label.
        """
        self._spec = spec
        self._folder = folder
        self._device = device
        self._precision = precision
        self._config = read_config(folder)
        labels = self._config.get("num_labels") or len(self._config.get("id2label") or ())
        if labels != 1:
            raise WeightsError(
                f"{str(folder / 'config.json')!r} tells of {labels} labels; {spec.key} needs a model with one"
            )

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        positions = int(self._config.get("max_position_embeddings") or 0)
        if positions and self._config.get("model_type") in _SHIFTED:
            positions -= int(self._config.get("pad_token_id", 1)) + 1
        return shared_tokenizer(self._folder / "tokenizer.json", limit_of([self._spec], positions))

    @cached_property
    def _model(self) -> Any:
        model = load_pretrained(
            "AutoModelForSequenceClassification", self._folder, self._config, self._precision, "sdpa"
        )
        return moved(model, self._folder, self._device)

    @cached_property
    def _budget(self) -> TokenBudget:
        self._model  # noqa: B018 (what it takes of the memory is not free)
        return TokenBudget(tokens_that_fit(self._config, self._device, self._precision))

    def scores(self, query: str, texts: Sequence[str]) -> PairScores:
        """A number for each text, higher where it answers the query better.

        Raises:
            EncodingError: the model gave NaN or infinity, or a pair does not fit the device's memory.
            WeightsError: the model's files cannot be read.
            MissingExtraError: PyTorch is not installed.
        """
        pairs = self._tokenizer.pairs(query, texts)
        lengths = np.diff(pairs.starts)
        order = np.argsort(-lengths, kind="stable")
        values = np.empty(len(texts), dtype=np.float32)
        done = 0
        while done < len(order):
            longest = int(lengths[order[done]])
            batch = order[done : done + max(1, self._budget.tokens // max(1, longest))]
            found = self._run(pairs, batch, longest)
            if found is not None:
                values[batch] = found
                done += len(batch)
        return PairScores(_finite(values, texts, self._spec), pairs.cut_texts)

    def _run(self, pairs: PairRows, batch: NDArray[np.int64], longest: int) -> NDArray[np.float32] | None:
        """The scores of a batch, or None where it does not fit: the budget is smaller then."""
        torch = import_torch()
        try:
            with torch.inference_mode():
                logits = self._model(**self._inputs(pairs, batch, longest)).logits[:, 0]
                found: NDArray[np.float32] = logits.float().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(batch) == 1 or not self._budget.failed():
                raise EncodingError(
                    f"a query and a text of {longest} tokens do not fit the memory of {self._device}; take "
                    "another --device"
                ) from None
            torch.cuda.empty_cache()
            return None
        self._budget.succeeded()
        return found

    def _inputs(self, pairs: PairRows, batch: NDArray[np.int64], longest: int) -> dict[str, Any]:
        torch = import_torch()
        padding = int(self._config.get("pad_token_id") or 0)
        ids = np.full((len(batch), longest), padding, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, pair in enumerate(batch.tolist()):
            start, end = pairs.starts[pair], pairs.starts[pair + 1]
            ids[row, : end - start] = pairs.ids[start:end]
            types[row, : end - start] = pairs.types[start:end]
            mask[row, : end - start] = 1
        given = {"input_ids": ids, "attention_mask": mask}
        if int(self._config.get("type_vocab_size") or 0) > 1:
            given["token_type_ids"] = types
        return {name: torch.from_numpy(array).to(self._device) for name, array in given.items()}


class OnnxCrossEncoder:
    """The same from an ONNX file of a row, without PyTorch.

    The output is the row's ``output`` or the file's first: one number a pair. How pairs are run: see
    `OnnxFile`.
    """

    def __init__(self, spec: ModelSpec, folder: Path, device: str, threads: int) -> None:
        """``folder`` holds ``tokenizer.json`` and the row's ``onnx_file``; neither is read before its use."""
        self._spec = spec
        self._folder = folder
        self._file = OnnxFile(spec, folder, device, threads)

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        return shared_tokenizer(self._folder / "tokenizer.json", limit_of([self._spec]))

    def scores(self, query: str, texts: Sequence[str]) -> PairScores:
        """A number for each text; see `PairScorer`."""
        pairs = self._tokenizer.pairs(query, texts)
        values = np.empty(len(texts), dtype=np.float32)
        for place, found in enumerate(self._file.outputs(pairs.ids, pairs.starts, pairs.types)):
            if found.size != 1:
                path = self._folder / str(self._spec.onnx_file)
                raise WeightsError(
                    f"{str(path)!r} gives {found.size} numbers for a pair; {self._spec.key} needs a model "
                    "with one label"
                )
            values[place] = found.item()
        return PairScores(_finite(values, texts, self._spec), pairs.cut_texts)


def _finite(values: NDArray[np.float32], texts: Sequence[str], spec: ModelSpec) -> NDArray[np.float32]:
    """The scores, once none is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise EncodingError(
            f"{spec.key} gives NaN or infinity, as for the text {texts[int(bad[0])][:60]!r}; check its "
            f"files: vecloom models verify {spec.key}"
        )
    return values
