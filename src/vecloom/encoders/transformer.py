"""A transformer on PyTorch, run over packed texts: token ids in, the last layer's states out.

The architecture is transformers' own class, never code of a repository. Texts are packed one behind the
other (`vecloom.encoders.packed_attention`), sorted by length, so that no token is padding. An architecture
that is not known to run so gets batches of one length instead, which need no padding either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.packed_attention import LAYOUT, PACKED, Layout, has_varlen, register, runs_of
from vecloom.encoders.pretrained import (
    DTYPE_BYTES,
    dtype_of,
    import_torch,
    load_pretrained,
    moved,
)
from vecloom.encoders.tensors import TensorFile, read_config
from vecloom.encoders.tokens import TokenRows
from vecloom.errors import EncodingError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Architectures whose packed results a test compares with transformers' own, and their first position.
_POSITIONS: Mapping[str, int] = {"bert": 0, "mistral": 0, "nomic_bert": 0, "qwen2": 0, "xlm-roberta": 1}

#: A pooler or a language model's head is no part of an embedding.
_UNUSED = ("pooler.", "lm_head.", "cls.", "embeddings.position_ids")

#: Tokens in a batch on CPU, where small batches stay in the caches; and the bounds on other devices.
CPU_TOKENS = 2048
LEAST_TOKENS, MOST_TOKENS = 512, 32_768

#: Rows of a CPU's batch at least, filled up with a text that is dropped: kernels take another way for a few.
LEAST_ROWS = 16

#: Batches that must go well before a budget that was halved is raised again.
_PATIENCE = 16


@dataclass(frozen=True, slots=True)
class States:
    """The last layer over one batch.

    ``texts``: the texts of the batch, by their place in the rows given; ``lengths``: their tokens.
    ``hidden`` [tokens, hidden]: theirs one behind the other, on the device, in the model's precision.
    ``starts`` int64 [texts + 1], on the device.
    """

    texts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    hidden: Tensor
    starts: Tensor


class TokenBudget:
    """How many tokens a batch may have: halved where memory runs out, and raised again step by step."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.halvings = 0
        self._most = tokens
        self._good = 0

    def failed(self) -> bool:
        """Halve it; False where that is not possible any more."""
        if self.tokens <= 1:
            return False
        self.tokens = max(1, self.tokens // 2)
        self.halvings += 1
        self._good = 0
        return True

    def succeeded(self) -> None:
        """Count a batch that went well, and after some of them try a quarter more."""
        self._good += 1
        if self.tokens < self._most and self._good >= _PATIENCE:
            self.tokens = min(self._most, self.tokens + max(1, self.tokens // 4))
            self._good = 0


class Transformer:
    """One model on one device. It is loaded when it is first run."""

    def __init__(self, folder: Path, device: str, precision: str, threads: int) -> None:
        """``folder`` holds ``config.json`` and safetensors; of them only the config is read here.

        ``threads``: batches that a CPU runs at a time.

        Raises:
            WeightsError: it cannot be read.
            MissingExtraError: PyTorch or transformers is not installed.
        """
        self._folder = folder
        self._precision = precision
        self.device = device
        self._threads = threads
        self.varlen = False  # whether attention is one call for a whole batch: known once it is loaded
        self.config = read_config(folder)
        self._packed = self.config.get("model_type") in _POSITIONS
        self._linears: dict[str, torch.nn.Linear] = {}

    @property
    def hidden_size(self) -> int:
        """Width of the last layer's states."""
        return self._number("hidden_size", "n_embd")

    def _number(self, *keys: str) -> int:
        """What ``config.json`` says under the first of these keys that it has."""
        for key in keys:
            if isinstance(found := self.config.get(key), (int, float)):
                return int(found)
        raise WeightsError(
            f"{str(self._folder / 'config.json')!r} says no {keys[0]}; correct it, or take another model"
        )

    @property
    def longest(self) -> int | None:
        """Tokens of the longest text that the model's positions allow; None where it has no such limit."""
        if self.config.get("model_type") in ("bert", "xlm-roberta"):
            return self._number("max_position_embeddings") - self._first_position
        return None

    @property
    def _first_position(self) -> int:
        # XLM-R counts positions from behind the padding token's id.
        step = _POSITIONS.get(str(self.config.get("model_type")), 0)
        return step + int(self.config.get("pad_token_id", 1)) if step else 0

    def states(self, rows: TokenRows, *, awaited: bool = False) -> Iterator[States]:
        """The last layer's states of texts, longest first, in batches of the token budget.

        On a CPU several batches run at a time, one thread each: what a text gives is then the same to the
        last bit in any batch. ``awaited``: one batch after another, all threads on each, for a text that
        somebody waits for. On other devices, where memory runs out, the budget is halved and the batch is run
        again in parts.

        Raises:
            EncodingError: a single text does not fit.
            WeightsError: the weights cannot be loaded.
        """
        if not len(rows.lengths):
            return
        self._model  # noqa: B018 (loaded before anything runs beside anything)
        order = np.argsort(-rows.lengths, kind="stable")
        sent = _Sent(rows, order, self._first_position, self.device)
        if self.device == "cpu" and not awaited:
            tokens = min(self.budget.tokens, _fair_share(sent.lengths, self._threads))
            with _single_threads():
                yield from _ahead(partial(self._run, sent), self._spans(sent.lengths, tokens), self._threads)
        elif self.device == "cpu":
            yield from map(partial(self._run, sent), self._spans(sent.lengths, self.budget.tokens))
        else:
            yield from self._in_turn(sent)

    def _spans(self, lengths: NDArray[np.int64], tokens: int) -> Iterator[tuple[int, int]]:
        """First text and end of every batch of at most so many tokens."""
        end = 0
        while end < len(lengths):
            first, end = end, self._batch_end(lengths, end, tokens)
            yield first, end

    def _in_turn(self, sent: _Sent) -> Iterator[States]:
        """Batches one after another, as large as memory allows."""
        import torch

        done = 0
        while done < len(sent.lengths):
            end = self._batch_end(sent.lengths, done, self.budget.tokens)
            try:
                states = self._run(sent, (done, end))
            except torch.OutOfMemoryError:
                if end - done == 1 or not self.budget.failed():
                    raise EncodingError(
                        f"a text of {sent.lengths[done]} tokens does not fit the memory of {self.device}; "
                        "make smaller chunks (--chunk-tokens), or take another --precision or --device"
                    ) from None
                torch.cuda.empty_cache()
                continue
            self.budget.succeeded()
            done = end
            yield states

    def _batch_end(self, lengths: NDArray[np.int64], first: int, tokens: int) -> int:
        """Where a batch from ``first`` on ends: whole texts within the budget, but at least one."""
        if self._packed:
            fits = int(np.searchsorted(np.cumsum(lengths[first:]), tokens, side="right"))
        else:
            same = int(np.argmax(np.append(lengths[first:], -1) != lengths[first]))
            fits = min(same, tokens // int(lengths[first]))
        return first + max(1, fits)

    def _run(self, sent: _Sent, span: tuple[int, int]) -> States:
        import torch

        first, end = span
        start, stop = int(sent.starts[first]), int(sent.starts[end])
        lengths = sent.lengths[first:end]
        starts = sent.device_starts[first : end + 1] - start
        with torch.inference_mode():
            if self._packed:
                hidden = self._packed_states(sent, start, stop, lengths, starts)
            else:
                ids = sent.ids[start:stop].view(end - first, int(lengths[0]))
                hidden = self._model(input_ids=ids).last_hidden_state.flatten(0, 1)
        return States(sent.order[first:end], lengths, hidden, starts)

    def _packed_states(
        self, sent: _Sent, start: int, stop: int, lengths: NDArray[np.int64], starts: Tensor
    ) -> Tensor:
        import torch

        ids, positions = sent.ids[start:stop], sent.positions[start:stop]
        filling = max(0, LEAST_ROWS - (stop - start)) if self.device == "cpu" else 0
        if filling:
            ids = torch.nn.functional.pad(ids, (0, filling))
            positions = torch.cat([positions, torch.arange(filling) + self._first_position])
        longest = max(int(lengths[0]), filling)
        if self.varlen:
            layout = Layout((), longest, starts.int())
        else:
            layout = Layout(runs_of([*lengths.tolist(), *([filling] if filling else [])]), longest)
        states = self._model(input_ids=ids[None], position_ids=positions[None], **{LAYOUT: layout})
        return states.last_hidden_state[0, : stop - start]

    def linear(self, name: str, width: int | None) -> torch.nn.Linear:
        """The head ``name`` of the model, in float32, from ``NAME.safetensors``: hidden size to ``width``.

        Raises:
            WeightsError: the file cannot be read, or holds a map of another shape.
        """
        torch = import_torch()
        if name not in self._linears:
            path = self._folder / f"{name}.safetensors"
            tensors = TensorFile(path)
            shape = (width, self.hidden_size)
            if tensors.sizes.get("weight") != shape or tensors.sizes.get("bias") != shape[:1]:
                raise WeightsError(
                    f"{str(path)!r} holds {dict(tensors.sizes)}, not a map to {width}; pull the model again"
                )
            linear = torch.nn.Linear(self.hidden_size, width)
            for parameter in ("weight", "bias"):
                getattr(linear, parameter).data = torch.from_numpy(tensors[parameter].copy())
            self._linears[name] = linear.requires_grad_(False).to(self.device)
        return self._linears[name]

    @cached_property
    def budget(self) -> TokenBudget:
        """The token budget of a batch, by the memory that is free once the model is loaded."""
        self._model  # noqa: B018
        return TokenBudget(tokens_that_fit(self.config, self.device, self._precision))

    @cached_property
    def _model(self) -> torch.nn.Module:
        return self._load()

    def _load(self) -> torch.nn.Module:
        torch = import_torch()
        if self._packed:
            register()
        attention = PACKED if self._packed else "sdpa"
        loaded = load_pretrained("AutoModel", self._folder, self.config, self._precision, attention, _UNUSED)
        model = moved(loaded, self._folder, self.device)
        device = torch.device(self.device)
        queries = self._number("num_attention_heads", "n_head") if self._packed else 1
        heads = queries, int(self.config.get("num_key_value_heads") or queries)
        size = self.hidden_size // queries
        window = bool(self.config.get("sliding_window") and self.config.get("use_sliding_window", True))
        self.varlen = self._packed and has_varlen(device, dtype_of(self._precision), heads, size, window)
        return model


_shared: WeakValueDictionary[tuple[Path, str, str, int], Transformer] = WeakValueDictionary()


def shared_transformer(folder: Path, device: str, precision: str, threads: int) -> Transformer:
    """The `Transformer` of these files: one in a process, for as long as anybody uses it."""
    key = folder, device, precision, threads
    model = _shared.get(key)
    if model is None:
        model = _shared[key] = Transformer(folder, device, precision, threads)
    return model


def _fair_share(lengths: NDArray[np.int64], threads: int) -> int:
    """Tokens of a batch of which every thread gets two, so that none is idle where there are few texts."""
    return max(LEAST_TOKENS // 2, -(-int(lengths.sum()) // (2 * threads)))


def _ahead(function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """``function`` of each item, in order, ``threads`` at a time, and no more than that ahead."""
    if threads < 2:
        yield from map(function, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="vecloom-torch") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _single_threads() -> Iterator[None]:
    """Within it, threads of this process run PyTorch's kernels alone: nothing is summed in another order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Sent:
    """Texts sorted by length, longest first, their tokens on the device: sent there at once."""

    def __init__(self, rows: TokenRows, order: NDArray[np.int64], first_position: int, device: str) -> None:
        import torch

        self.order = order
        self.lengths = rows.lengths[order]
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        within = np.arange(self.starts[-1]) - np.repeat(self.starts[:-1], self.lengths)
        places = np.repeat(rows.starts[:-1][order], self.lengths) + within

        def send(array: NDArray[Any]) -> Tensor:
            tensor = torch.from_numpy(array.astype(np.int64))
            if device.startswith("cuda"):  # pinned, so that the copy runs beside what the device computes
                return tensor.pin_memory().to(device, non_blocking=True)
            return tensor

        self.ids = send(rows.ids[places])
        self.positions = send(within + first_position)
        self.device_starts = send(self.starts)


def tokens_that_fit(config: Mapping[str, Any], device: str, precision: str) -> int:
    """The largest sensible batch of a model that is loaded, in tokens.

    What half of the free memory holds of a layer's intermediate results.
    """
    if not device.startswith("cuda"):
        return CPU_TOKENS
    import torch

    itemsize = DTYPE_BYTES[precision]
    hidden = int(config.get("hidden_size") or config["n_embd"])
    inner = int(config.get("intermediate_size") or config.get("n_inner") or 4 * hidden)
    a_token = 2 * itemsize * (6 * hidden + 3 * inner)
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(min(MOST_TOKENS, max(LEAST_TOKENS, free // 2 // a_token)))
