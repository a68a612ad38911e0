"""Texts to token ids, cut at a limit of ours, and batches of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecloom.errors import WeightsError

#: Results that a tokenizer remembers: of the window that is encoded, and of the next one.
_REMEMBERED = 2


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Token ids of texts, special ones included, one after another.

    ``ids`` int32; text i is ``ids[starts[i]:starts[i + 1]]``. ``cut_texts`` and ``cut_tokens`` count what the
    limit dropped.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    cut_texts: int
    cut_tokens: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.starts)


class FileTokenizer:
    """A ``tokenizer.json``, with the truncation and padding that it may carry replaced by ``limit``.

    It remembers its last results: models that share a tokenizer (`shared_tokenizer`) are given the same texts
    one after another, and a window may be tokenised ahead.
    """

    def __init__(self, data: bytes, limit: int) -> None:
        """``data``: the file, known to be whole."""
        from tokenizers import Tokenizer

        self._known: deque[tuple[Sequence[str], TokenRows]] = deque(maxlen=_REMEMBERED)
        self._tokenizer = Tokenizer.from_buffer(data)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=limit)
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def rows(self, texts: Sequence[str]) -> TokenRows:
        """The tokens of texts."""
        for seen, rows in tuple(self._known):
            if seen == texts:
                return rows
        rows = self._rows(texts)
        self._known.append((list(texts), rows))
        return rows

    def _rows(self, texts: Sequence[str]) -> TokenRows:
        encodings = self._tokenizer.encode_batch_fast([_encodable(text) for text in texts])
        lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        starts = np.zeros(len(encodings) + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        flat = chain.from_iterable(encoding.ids for encoding in encodings)
        ids = np.fromiter(flat, dtype=np.int32, count=int(starts[-1]))
        cut = [sum(len(rest) - self._specials for rest in e.overflowing) for e in encodings]
        return TokenRows(ids, starts, sum(tokens > 0 for tokens in cut), sum(cut))

    def ids_of(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """The ids of those of ``tokens`` that there are."""
        found = (self._tokenizer.token_to_id(token) for token in tokens)
        return np.array([number for number in found if number is not None], dtype=np.int64)

    def vocabulary(self) -> tuple[list[str], list[bool]]:
        """Every token by its id, and whether it is a special one. Ids that the file leaves out are ""."""
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        tokens = [""] * (max(known.values()) + 1)
        for token, number in known.items():
            tokens[number] = token
        added = self._tokenizer.get_added_tokens_decoder()
        return tokens, [number in added and added[number].special for number in range(len(tokens))]


def shared_tokenizer(path: Path, limit: int) -> FileTokenizer:
    """The tokenizer of a ``tokenizer.json``: one for all models whose files and limits are the same.

    Raises:
        WeightsError: the file cannot be read, or is none.
    """
    return _tokenizer_of(_checked(path), limit)


@lru_cache(maxsize=8)
def _tokenizer_of(data: bytes, limit: int) -> FileTokenizer:
    return FileTokenizer(data, limit)


def _encodable(text: str) -> str:
    """The text with lone surrogates (from names that are not UTF-8) as "?": the tokenizer takes none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _checked(path: Path) -> bytes:
    """The file, once it looks whole: what the tokenizers library raises has no class of its own to catch."""
    try:
        data = path.read_bytes().strip()
    except OSError as error:
        raise WeightsError(f"{str(path)!r} cannot be read ({error}); pull the model again") from error
    if not (data.startswith(b"{") and data.endswith(b"}") and b'"model"' in data):
        raise WeightsError(f"{str(path)!r} is no whole tokenizer.json; pull the model again")
    return data


def equal_length_batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Texts grouped to batches of one length each, longest first, of at most ``budget`` tokens (or one text).

    A pure function of the lengths. Nothing is padded.
    """
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    bounds = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(ordered)]
    for start, end in pairwise(bounds):
        if start == end:
            continue
        step = max(1, budget // max(1, int(ordered[start])))
        for first in range(start, end, step):
            yield order[first : min(first + step, end)]
