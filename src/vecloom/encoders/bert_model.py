"""Running a BERT over texts: tokens, batches of one length, several runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.bert_graph import BertOutputs, BertShape
from vecloom.encoders.bert_session import BertSession
from vecloom.encoders.tensors import read_config
from vecloom.encoders.tokens import FileTokenizer, TokenRows, equal_length_batches, shared_tokenizer
from vecloom.errors import EncodingError

#: Tokens in a batch, or one text. Small ones stay in a core's cache; measured flat from 256 to 512.
BATCH_TOKENS = 384

#: Threads that work on one query at most: its matrices are small.
QUERY_THREADS = 4

#: Texts handled in one stretch, so that memory does not grow with the number of texts.
STRETCH_TEXTS = 1024

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Session(Protocol):
    """A graph with its weights, ready to run; several threads may do so at once."""

    def run(self, ids: NDArray[np.int32], output: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs named, for texts of one length: ``ids`` int32 [batch, tokens]."""
        ...


@dataclass(frozen=True, slots=True)
class Forward:
    """What the model gave for a stretch of texts.

    ``dense`` float32 [texts, hidden]; ``attention`` float32, one for each of ``tokens.ids``; empty arrays
    where not asked for. ``padded``: tokens that went through the model.
    """

    tokens: TokenRows
    dense: NDArray[np.float32]
    attention: NDArray[np.float32]
    padded: int


class BertModel:
    """The files of one model: ``config.json``, ``tokenizer.json``, ``model.safetensors``.

    Nothing but the config is read before it is needed. ``outputs`` tells the pooling; which outputs are made
    is said in each call.
    """

    def __init__(
        self,
        folder: Path,
        limit: int,
        outputs: BertOutputs,
        cache_dir: Path,
        threads: int,
        backend: str = "onnx",
        precision: str = "fp32",
    ) -> None:
        """``limit``: tokens of a text, special ones included; the model's own limit holds in any case.

        ``backend``: onnx (in fp32) or openvino.

        Raises:
            WeightsError: ``config.json`` cannot be read, or tells of another architecture.
        """
        self.shape = BertShape.of(read_config(folder), str(folder / "config.json"))
        self._folder = folder
        self._limit = min(limit, self.shape.positions)
        self._outputs = outputs
        self._cache_dir = cache_dir
        self._threads = threads
        self._backend = backend
        self._precision = precision
        self._sessions: dict[tuple[bool, bool, int], Session] = {}
        self._opening = threading.Lock()

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer, cutting at the limit."""
        return shared_tokenizer(self._folder / "tokenizer.json", self._limit)

    def forwards(self, texts: Sequence[str], *, dense: bool, attention: bool) -> Iterator[Forward]:
        """The model over the texts, stretch by stretch, in their order.

        One thread a batch, and as many batches at a time as there are threads: that scales better on small
        matrices than the other way round.

        Raises:
            EncodingError: an output is NaN or infinite.
            WeightsError: the tokenizer or the weights cannot be read.
        """
        session = self._session(dense=dense, attention=attention)
        wanted = ["dense"] * dense + ["attention"] * attention
        for start in range(0, len(texts), STRETCH_TEXTS):
            yield self._forward(texts[start : start + STRETCH_TEXTS], session, wanted, self._threads)

    def queries(self, texts: Sequence[str]) -> Iterator[Forward]:
        """The dense outputs of `forwards`, bit for bit, batch after batch, each by several threads.

        For one short text that somebody waits for.

        Raises:
            EncodingError: an output is NaN or infinite.
            WeightsError: the tokenizer or the weights cannot be read.
        """
        session = self._session(dense=True, attention=False, threads=min(self._threads, QUERY_THREADS))
        for start in range(0, len(texts), STRETCH_TEXTS):
            yield self._forward(texts[start : start + STRETCH_TEXTS], session, ["dense"], threads=1)

    def _forward(
        self, texts: Sequence[str], session: Session, wanted: Sequence[str], threads: int
    ) -> Forward:
        tokens = self.tokenizer.rows(texts)
        lengths = tokens.lengths
        dense, attention = "dense" in wanted, "attention" in wanted
        pooled = np.empty((len(texts) if dense else 0, self.shape.hidden), dtype=np.float32)
        shares = np.empty(len(tokens.ids) if attention else 0, dtype=np.float32)

        def run(batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
            places = tokens.starts[batch, None] + np.arange(lengths[batch[0]])
            return places, session.run(tokens.ids[places], wanted)

        padded = 0
        batches = list(equal_length_batches(lengths, BATCH_TOKENS))
        with closing(_each(run, batches, threads)) as results:
            for batch, (places, found) in zip(batches, results, strict=True):
                self._check(found, texts[int(batch[0])])
                padded += places.size
                if dense:
                    pooled[batch] = found[0]
                if attention:
                    shares[places] = found[-1]
        return Forward(tokens, pooled, shares, padded)

    def _session(self, *, dense: bool, attention: bool, threads: int = 1) -> Session:
        """The session for these outputs with so many threads a run, opened once.

        An open one that gives attention too serves for dense alone: 4% of its time against another copy of
        the packed weights. The reverse would cost a fifth.
        """
        with self._opening:
            both = self._sessions.get((True, True, threads))
            session = both if dense and both else self._sessions.get((dense, attention, threads))
            if session is None:
                outputs = replace(self._outputs, dense=dense, attention=attention)
                session = self._opened(outputs, threads)
                self._sessions[dense, attention, threads] = session
            return session

    def _opened(self, outputs: BertOutputs, threads: int) -> Session:
        if self._backend == "openvino":
            from vecloom.encoders.openvino_session import OpenvinoSession

            streams = max(threads, self._threads)
            return OpenvinoSession(
                self._folder, outputs, self.shape, self._cache_dir, streams, self._precision
            )
        return BertSession(self._folder, outputs, self.shape, self._cache_dir, threads)

    def _check(self, found: Sequence[NDArray[np.float32]], text: str) -> None:
        if not all(np.isfinite(array).all() for array in found):
            raise EncodingError(
                f"the model in {str(self._folder)!r} gives NaN or infinity, as for the text {text[:60]!r}; "
                "check its files: vecloom models verify"
            )


def _each(function: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> Generator[_Result]:
    """``function`` of each item, in order, ``threads`` at a time. Closing it drops what has not begun."""
    threads = min(threads, len(items))
    if threads < 2:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vecloom-bert")
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
