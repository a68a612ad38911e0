"""Texts to token ids, cut at a limit of ours, and batches of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class PairRows:
    """Token ids of pairs of texts, special ones included, one pair after another.

    ``ids`` and ``types`` (which of the two a token belongs to) int32; pair i is ``starts[i]:starts[i + 1]``.
    ``cut_texts``: pairs that lost tokens to the limit.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    starts: NDArray[np.int64]
    cut_texts: int


class FileTokenizer:
    """A ``tokenizer.json``, with the truncation and padding that it may carry replaced by ``limit``.

    It remembers its last results: models that share a tokenizer (`shared_tokenizer`) are given the same texts
    one after another, and a window may be tokenised ahead.
    """

    def __init__(self, data: bytes, limit: int, last_token: str | None = None) -> None:
        """``data``: the file, known to be whole. ``last_token``: what every text ends with, cut ones too."""
        from tokenizers import Tokenizer

        self._known: deque[tuple[Sequence[str], TokenRows]] = deque(maxlen=_REMEMBERED)
        self._tokenizer = Tokenizer.from_buffer(data)
        self._tokenizer.no_padding()
        self._ending = self._ending_of(last_token)
        own: int = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        #: Special tokens that a text is given.
        self.specials = own + len(self._ending)
        self._tokenizer.enable_truncation(max_length=limit - len(self._ending))

    def _ending_of(self, last_token: str | None) -> list[int]:
        """What is put behind a text's tokens: the last token, where the file itself does not see to it."""
        if last_token is None:
            return []
        number = self._tokenizer.token_to_id(last_token)
        if number is None:
            raise WeightsError(
                f"the tokenizer has no token {last_token!r}, which the row names as last_token"
            )
        self._tokenizer.no_truncation()
        return [] if self._tokenizer.encode("a").ids[-1:] == [number] else [number]

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
        ending = self._ending
        starts = _starts_of([len(encoding) + len(ending) for encoding in encodings])
        ids = _joined((encoding.ids + ending for encoding in encodings), starts)
        own = self.specials - len(ending)
        cut = [sum(len(rest) - own for rest in encoding.overflowing) for encoding in encodings]
        return TokenRows(ids, starts, sum(tokens > 0 for tokens in cut), sum(cut))

    def pairs(self, first: str, seconds: Sequence[str]) -> PairRows:
        """The tokens of ``first`` with each of ``seconds``; the longer of the two is cut first."""
        head = _encodable(first)
        encodings = self._tokenizer.encode_batch_fast([(head, _encodable(second)) for second in seconds])
        starts = _starts_of(list(map(len, encodings)))
        return PairRows(
            _joined((encoding.ids for encoding in encodings), starts),
            _joined((encoding.type_ids for encoding in encodings), starts),
            starts,
            sum(bool(encoding.overflowing) for encoding in encodings),
        )

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


def shared_tokenizer(path: Path, limit: int, last_token: str | None = None) -> FileTokenizer:
    """The tokenizer of a ``tokenizer.json``: one for all models whose files and limits are the same.

    Raises:
        WeightsError: the file cannot be read, is none, or lacks ``last_token``.
    """
    return _tokenizer_of(_checked(path), limit, last_token)


@lru_cache(maxsize=8)
def _tokenizer_of(data: bytes, limit: int, last_token: str | None) -> FileTokenizer:
    return FileTokenizer(data, limit, last_token)


def _starts_of(lengths: Sequence[int]) -> NDArray[np.int64]:
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _joined(rows: Iterable[Sequence[int]], starts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(starts[-1]))


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
