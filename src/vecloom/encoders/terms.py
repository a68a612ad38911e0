"""What the two sparse models share: words to stems, stems to ids, weighted stems to sorted rows."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecloom.types import SparseRows

#: Words remembered before a table starts afresh: some 60 MB.
TABLE_WORDS = 400_000

#: Documents and their stems, as `StemTable.packed` gives them.
Packed: TypeAlias = NDArray[np.unsignedinteger[Any]]

_ID_BITS = 32
_ID_MASK = 0xFFFFFFFF


class StemTable(dict[bytes, bytes]):
    """Word (UTF-8) -> its stem's number in four bytes, or no bytes where the word is dropped.

    A missing word is stemmed and numbered on first use. Bytes, because joining them gives a text's stems as
    one uint32 array, dropped words left out, faster than any list of numbers.

    ``dropped`` words and those of more than ``longest`` characters do not count. The id of a stem is the
    absolute value of its signed 32-bit murmur3 hash (seed 0, UTF-8), as in FastEmbed and Qdrant.

    Who uses numbers holds ``lock`` from the first word to the last number: another thread may start the
    table afresh.
    """

    #: The stems by their number.
    stems: list[str]
    _numbers: dict[str, bytes]
    _ids: array[int]
    _id_array: NDArray[np.uint32]

    def __init__(self, language: str, dropped: Iterable[str], longest: int | None = None) -> None:
        import mmh3
        from py_rust_stemmers import SnowballStemmer

        super().__init__()
        self.lock = threading.RLock()
        self._dropped = frozenset(word.encode() for word in dropped)
        self._longest = sys.maxsize if longest is None else longest
        self._stem = SnowballStemmer(language).stem_word
        self._hash = mmh3.hash
        self.reset()

    def __missing__(self, word: bytes) -> bytes:
        plain = word.decode()
        number: bytes | None = b""
        if len(plain) <= self._longest:
            stem = self._stem(plain)
            number = self._numbers.get(stem)
        if number is None:
            number = self._enrol(stem)
        self[word] = number
        return number

    def _enrol(self, stem: str) -> bytes:
        number = self._numbers[stem] = len(self.stems).to_bytes(4, "little")
        self.stems.append(stem)
        self._ids.append(abs(self._hash(stem)))
        return number

    def ids(self) -> NDArray[np.uint32]:
        """The id of every stem, by its number."""
        if len(self._id_array) != len(self._ids):
            self._id_array = np.array(self._ids, dtype=np.uint32)
        return self._id_array

    def bound(self) -> None:
        """Start afresh where there are too many words."""
        if len(self) > TABLE_WORDS:
            self.reset()

    def reset(self) -> None:
        """Forget every word. Numbers given out before lose their meaning."""
        self.clear()
        self.update(dict.fromkeys(self._dropped, b""))
        self.stems = []
        self._ids = array("I")
        self._id_array = np.zeros(0, dtype=np.uint32)
        self._numbers = {"": b""}  # a word that stemming leaves nothing of

    def packed(self, documents: NDArray[np.int64], stems: NDArray[np.uint32]) -> Packed:
        """A document (in ascending order) and the number of a stem in it as one number to sort and count by.

        Of 32 bits where they suffice, because sorting is what takes the time. Good until a word is added.
        """
        width = len(self.stems)
        if not len(documents) or (int(documents[-1]) + 1) * width < 1 << 32:
            return documents.astype(np.uint32) * np.uint32(width) + stems
        return documents.astype(np.uint64) * np.uint64(width) + stems

    def unpacked(self, keys: Packed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The documents and the stems of `packed`."""
        documents, stems = np.divmod(keys, keys.dtype.type(max(1, len(self.stems))))
        return documents.astype(np.int64), stems.astype(np.int64)


def term_rows(
    count: int,
    keys: Packed,
    unique: Packed,
    values: NDArray[np.float64],
    table: StemTable,
) -> tuple[SparseRows, NDArray[np.int64]]:
    """Rows of ``count`` documents from their stems' values, and the number of the stem behind each index.

    ``keys``: every stem of every document in the order of the text; ``unique``: the same without repetition,
    sorted; ``values``: one for each of ``unique``. Where two stems of a document share an id, the value of
    the one that appears first in the text is overwritten by the later one's, as in FastEmbed.
    """
    documents, stems = table.unpacked(unique)
    places = (documents << _ID_BITS) | table.ids()[stems]
    order = np.argsort(places)
    last = _last_of_equals(places[order])
    if not last.all():
        first_seen = np.unique(keys, return_index=True)[1]
        order = np.lexsort((first_seen, places))
    order = order[last]
    places = places[order]
    indptr = np.searchsorted(places, np.arange(count + 1, dtype=np.int64) << _ID_BITS)
    rows = SparseRows(indptr, (places & _ID_MASK).astype(np.uint32), values[order].astype(np.float32))
    return rows, stems[order]


def _last_of_equals(ordered: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the last of each run of equal values."""
    last = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=last[:-1])
    return last


def stack_rows(parts: Sequence[SparseRows]) -> SparseRows:
    """Rows below each other."""
    if len(parts) == 1:
        return parts[0]
    sizes = [np.zeros(1, dtype=np.int64), *(np.diff(part.indptr) for part in parts)]
    indices = [np.zeros(0, dtype=np.uint32), *(part.indices for part in parts)]
    values = [np.zeros(0, dtype=np.float32), *(part.values for part in parts)]
    return SparseRows(np.cumsum(np.concatenate(sizes)), np.concatenate(indices), np.concatenate(values))
