"""BM42: a text's words weighted by the attention that a BERT's first token pays them."""

from __future__ import annotations

import itertools
import string

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.stopwords import stopwords
from vecloom.encoders.terms import TABLE_WORDS, Packed, StemTable, term_rows
from vecloom.encoders.tokens import FileTokenizer, TokenRows
from vecloom.types import SparseRows

_CONTINUES = "##"
_DROPPED = 0xFFFFFFFF
_DROPPED_BYTES = _DROPPED.to_bytes(4, "little")


class Bm42Words:
    """Word pieces and their attention to sparse rows, as FastEmbed 0.9.1 does it (``sparse/bm42.py``).

    Pieces beginning with ``##`` join the piece before them to a word, which weighs the sum of its pieces;
    special tokens, stop words and single punctuation characters are dropped; words are stemmed (Snowball),
    and of those with one stem the heaviest counts. The value is ``ln(1 + weight) ** alpha``, the index the
    absolute value of the stem's signed 32-bit murmur3 hash.
    """

    def __init__(self, tokenizer: FileTokenizer, language: str, alpha: float) -> None:
        pieces, special = tokenizer.vocabulary()
        self._special = np.array(special)
        self._continues = np.array([piece.startswith(_CONTINUES) for piece in pieces])
        self._alpha = alpha
        table = StemTable(language, {*string.punctuation, *stopwords(language)})
        self._words = _WordCache(pieces, table)

    def documents(self, tokens: TokenRows, attention: NDArray[np.float32]) -> SparseRows:
        """Rows of documents. ``attention`` [n] belongs to ``tokens.ids`` [n], one by one."""
        return self._weigh(tokens, attention)[0]

    def queries(self, tokens: TokenRows) -> SparseRows:
        """Rows of queries: weight 1 for each stem, without a model's run."""
        rows = self.documents(tokens, np.ones(len(tokens.ids), dtype=np.float32))
        return SparseRows(rows.indptr, rows.indices, np.ones_like(rows.values))

    def terms(self, tokens: TokenRows) -> list[str]:
        """The stem behind every index of `documents`, which no weight decides."""
        table = self._words.table
        with table.lock:
            _, stems = self._weigh(tokens, np.ones(len(tokens.ids), dtype=np.float32))
            return [table.stems[number] for number in stems]

    def _weigh(
        self, tokens: TokenRows, attention: NDArray[np.float32]
    ) -> tuple[SparseRows, NDArray[np.int64]]:
        table = self._words.table
        with table.lock:
            keys, weights = self._words_of(tokens, attention.astype(np.float64))
            order = np.argsort(keys, kind="stable")
            unique, first = np.unique(keys[order], return_index=True)
            heaviest = np.maximum.reduceat(weights[order], first) if len(first) else weights
            values = np.log(1.0 + heaviest) ** self._alpha
            return term_rows(len(tokens.starts) - 1, keys, unique, values, table)

    def _words_of(
        self, tokens: TokenRows, attention: NDArray[np.float64]
    ) -> tuple[Packed, NDArray[np.float64]]:
        """The stem of every kept word with its document, in the order of the text, and the word's weight."""
        self._words.bound()
        real = np.flatnonzero(~self._special[tokens.ids])
        ids = tokens.ids[real]
        documents = np.searchsorted(tokens.starts, real, side="right") - 1
        begins = ~self._continues[ids]
        begins[:1] = True
        begins[1:] |= documents[1:] != documents[:-1]
        starts = np.flatnonzero(begins)
        if not len(starts):
            return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.float64)
        weights = np.add.reduceat(attention[real], starts)
        stems = self._stems(ids, starts)
        kept = stems != _DROPPED
        keys = self._words.table.packed(documents[starts[kept]], stems[kept])
        return keys, weights[kept]

    def _stems(self, ids: NDArray[np.int32], starts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The stem's number of each word, `_DROPPED` where the word does not count."""
        data = ids.tobytes()
        bounds = [*(starts * ids.itemsize).tolist(), len(data)]
        words = [data[start:end] for start, end in itertools.pairwise(bounds)]
        return np.frombuffer(b"".join(map(self._words.__getitem__, words)), dtype="<u4")


class _WordCache(dict[bytes, bytes]):
    """The ids of a word's pieces -> the number of its stem, both as bytes."""

    def __init__(self, pieces: list[str], table: StemTable) -> None:
        super().__init__()
        self._pieces = pieces
        self.table = table

    def __missing__(self, ids: bytes) -> bytes:
        first, *rest = (self._pieces[number] for number in np.frombuffer(ids, dtype=np.int32).tolist())
        word = first.removeprefix(_CONTINUES) + "".join(piece[len(_CONTINUES) :] for piece in rest)
        self[ids] = number = self.table[word.encode()] or _DROPPED_BYTES
        return number

    def bound(self) -> None:
        """Start afresh where there are too many words."""
        if len(self) > TABLE_WORDS:
            self.clear()
            self.table.reset()
