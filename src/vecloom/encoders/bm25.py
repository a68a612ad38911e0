"""BM25's document side as sparse vectors, equal to FastEmbed's; the index adds the idf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import PassStats
from vecloom.encoders.counters import CounterSettings
from vecloom.encoders.stopwords import stopwords
from vecloom.encoders.terms import StemTable, stack_rows, term_rows
from vecloom.encoders.words import words
from vecloom.registry import ModelSpec
from vecloom.types import Passage, SparseRows

#: Longer words are dropped.
MAX_WORD = 40

#: Documents handled in one stretch, so that memory does not grow with the number of texts.
_BLOCK = 1024


class Bm25Encoder:
    """BM25 term weights, as FastEmbed 0.9.1 computes them (``sparse/bm25.py``, class Bm25).

    Words are what is left of a text when all but letters, digits and ``_`` is blanked, in lower case; stop
    words, words of more than 40 characters and a lone ``_`` are dropped, the others stemmed (Snowball). A
    stem that occurs f times in a document of n kept words weighs::

        f * (k + 1) / (f + k * (1 - b + b * n / avg_len))

    computed in float64 in FastEmbed's order and then rounded to float32. The index is the absolute value of
    the stem's signed 32-bit murmur3 hash. A query weighs 1 for each of its stems. A document without a word
    gives an empty row.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.names: tuple[str, ...] = (spec.vector_name,)
        self._k = float(spec.settings.get("k", 1.2))
        self._b = float(spec.settings.get("b", 0.75))
        self._avg_len = float(spec.settings.get("avg_len", 256.0))
        self._language = str(spec.settings.get("language", "english"))

    @property
    def counting(self) -> CounterSettings:
        """Counts words."""
        return CounterSettings()

    @cached_property
    def _table(self) -> StemTable:
        return StemTable(self._language, {"_", *stopwords(self._language)}, MAX_WORD)

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, SparseRows], PassStats]:
        """Weights of the texts' words. ``tokens`` of the figures counts the kept words."""
        del names  # there is one
        rows, kept = [], 0
        for block in _blocks(texts):
            weighted, _, lengths = self._weigh(block)
            rows.append(weighted)
            kept += int(lengths.sum())
        return {self.names[0]: stack_rows(rows)}, PassStats(texts=len(texts), tokens=kept, padded=kept)

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, SparseRows]:
        """Weight 1 for each of the texts' stems."""
        documents, _ = self.encode_documents(texts, names)
        rows = documents[self.names[0]]
        return {self.names[0]: SparseRows(rows.indptr, rows.indices, np.ones_like(rows.values))}

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """The stem behind every index of the texts' vectors."""
        terms: list[str] = []
        for block in _blocks(texts if rows else ()):
            with self._table.lock:
                _, stems, _ = self._weigh(block)
                terms += [self._table.stems[number] for number in stems]
        return dict.fromkeys(rows, terms)

    def text_words(self, passages: Sequence[Passage]) -> int:
        """How many words of the encoded texts count: what ``avg_len`` is an average of."""
        kept = 0
        for block in _blocks([passage.encoded_text for passage in passages]):
            with self._table.lock:
                self._table.bound()
                kept += int(self._numbers(block)[1].sum())
        return kept

    def _numbers(self, texts: Sequence[str]) -> tuple[bytes, NDArray[np.int64]]:
        """The numbers of all kept words' stems, four bytes each, and how many words each text keeps."""
        number = self._table.__getitem__
        stems = [b"".join(map(number, words(text))) for text in texts]
        return b"".join(stems), np.fromiter(map(len, stems), dtype=np.int64, count=len(texts)) // 4

    def _weigh(self, texts: Sequence[str]) -> tuple[SparseRows, NDArray[np.int64], NDArray[np.int64]]:
        """Rows, the stem's number behind each index, and the kept words of each text."""
        table = self._table
        with table.lock:
            table.bound()
            stems, lengths = self._numbers(texts)
            keys = table.packed(np.repeat(np.arange(len(texts)), lengths), np.frombuffer(stems, dtype="<u4"))
            unique, counts = np.unique(keys, return_counts=True)
            spread = self._k * (1 - self._b + self._b * lengths / self._avg_len)
            values = counts * (self._k + 1) / (counts + spread[table.unpacked(unique)[0]])
            return *term_rows(len(texts), keys, unique, values, table), lengths


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _BLOCK] for start in range(0, len(texts), _BLOCK))
