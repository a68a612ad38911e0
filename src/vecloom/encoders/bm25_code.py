"""BM25 for code: identifiers in parts and whole, fields weighed into one sparse vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders import PassStats
from vecloom.encoders.bm25 import MAX_WORD
from vecloom.encoders.counters import CounterSettings
from vecloom.encoders.identifiers import JOINED, identifiers, parts_of, whole_of
from vecloom.encoders.stopwords import stopwords
from vecloom.encoders.terms import StemTable, stack_rows, term_rows
from vecloom.paths import file_stem
from vecloom.registry import ModelSpec
from vecloom.types import Passage, SparseRows

#: How many folders above a file weigh in.
FOLDERS = 3

#: Passages handled in one stretch, so that memory does not grow with their number.
_BLOCK = 1024


class Field(NamedTuple):
    """A field of a passage: what a word in it weighs, how many words it has on average, how it is read."""

    name: str
    weight: float
    avg_len: float
    text_of: Callable[[Passage], str]


def _folders_of(passage: Passage) -> str:
    return "/".join(passage.path.split("/")[:-1][-FOLDERS:])


_TEXTS: Mapping[str, Callable[[Passage], str]] = {
    "text": lambda passage: passage.text,
    "file": lambda passage: file_stem(passage.path.rpartition("/")[2]),
    "folders": _folders_of,
    "defines": lambda passage: passage.defines,
    "within": lambda passage: passage.within,
}


class IdentifierTable(StemTable):
    """Identifier (UTF-8, as written) -> the numbers of its words, four bytes each.

    An identifier of several parts gives the stem of each, but for dropped words and single characters, and,
    unstemmed, itself as a whole and each two neighbours among three and more parts; one of a single part
    gives its stem.
    """

    def __missing__(self, word: bytes) -> bytes:
        plain = word.decode()
        parts = parts_of(plain)
        if len(parts) < 2:
            number = b"".join(map(self._number, parts or [plain.lower()]))
        else:
            number = b"".join(self._number(part) for part in parts if len(part) > 1)
            number += self.joined(whole_of(plain))
            if len(parts) > 2:
                number += b"".join(self.joined(left + right) for left, right in pairwise(parts))
        self[word] = number
        return number

    def joined(self, term: str) -> bytes:
        """The number of parts joined, which are not stemmed; no bytes where they are too long."""
        if len(term) > self._longest:
            return b""
        number = self._numbers.get(term)
        return self._enrol(term) if number is None else number

    def _number(self, word: str) -> bytes:
        """The number of a plain word's stem; no bytes where it is dropped."""
        if word.encode() in self._dropped or len(word) > self._longest:
            return b""
        return self.joined(self._stem(word))

    def stemmed(self, term: str) -> str:
        """The stem of a term."""
        return str(self._stem(term))


class Bm25CodeEncoder:
    """BM25 over the fields of a passage (BM25F: Robertson, Zaragoza and Taylor, CIKM 2004).

    A text's words are its identifiers in parts, stemmed, and whole; see `IdentifierTable`. A word that occurs
    f_i times in field i, which has n_i of avg_i words, weighs::

        f = sum over fields of w_i * f_i / (1 - b + b * n_i / avg_i)
        f * (k + 1) / (f + k)

    so that one field gives BM25. A query weighs 1 for each of its words, and for the names that its plain
    words may make: one alone, unstemmed ("getusername" may be ``getUserName``), and each two that follow each
    other, joined, unstemmed ("error handler" may be ``ErrorHandler``) and stemmed ("file name" may be
    filename). Ids are those of `Bm25Encoder`: the absolute value of the term's signed 32-bit murmur3
    hash.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.names: tuple[str, ...] = (spec.vector_name,)
        said = spec.settings
        self._k = float(said.get("k", 1.2))
        self._b = float(said.get("b", 0.75))
        self._language = str(said.get("language", "english"))
        self._fields = [
            Field("text", 1.0, float(said.get("avg_len", 128.0)), _TEXTS["text"]),
            *(
                Field(name, float(said[name]), float(said[f"avg_{name}"]), text_of)
                for name, text_of in _TEXTS.items()
                if name in said
            ),
        ]

    @property
    def counting(self) -> CounterSettings:
        """Counts words."""
        return CounterSettings()

    @cached_property
    def _table(self) -> IdentifierTable:
        return IdentifierTable(self._language, {"_", *stopwords(self._language)}, MAX_WORD)

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, SparseRows], PassStats]:
        """Weights of texts that have no other field. ``tokens`` of the figures counts the kept words."""
        return self.encode_passages([Passage("", text) for text in texts], names)

    def encode_passages(
        self, passages: Sequence[Passage], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, SparseRows], PassStats]:
        """Weights of the passages' words, over all fields."""
        del names  # there is one
        rows, kept = [], 0
        for block in _blocks(passages):
            weighted, words = self._weigh(block)
            rows.append(weighted)
            kept += words
        return {self.names[0]: stack_rows(rows)}, PassStats(texts=len(passages), tokens=kept, padded=kept)

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, SparseRows]:
        """Weight 1 for each word of the texts, and for each name that plain words may make."""
        del names
        rows = []
        for text in texts:
            indices = np.array(sorted(self._terms_of(text)), dtype=np.uint32)
            indptr = np.array([0, len(indices)], dtype=np.int64)
            rows.append(SparseRows(indptr, indices, np.ones(len(indices), dtype=np.float32)))
        empty = SparseRows(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32))
        return {self.names[0]: stack_rows(rows or [empty])}

    def _terms_of(self, text: str) -> dict[int, str]:
        """Index -> term for all words of a text and the names that its plain words may make (`JOINED`)."""
        table = self._table
        with table.lock:
            table.bound()
            words = identifiers(text)
            plain = [whole_of(word.decode()) if len(table[word]) == 4 else "" for word in words]
            names: dict[bytes, str] = {}
            for left, right in pairwise(["", *plain]):
                both = left + right if left and right else ""
                for name in (right, both, table.stemmed(both)):
                    cut = len(left) if both and name.startswith(left) else 0
                    names.setdefault(table.joined(name), f"{name[:cut]}{JOINED}{name[cut:]}")
            ids, stems = table.ids(), table.stems
            terms = {int(ids[_at(number)]): said for number, said in names.items() if number}
            for number in np.frombuffer(b"".join(map(table.__getitem__, words)), dtype="<u4").tolist():
                terms[int(ids[number])] = stems[number]
            return terms

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """The term behind every index; a "+" is in those that a query's plain words may make (`JOINED`)."""
        known = [self._terms_of(text) for text in texts] if rows else []
        return {
            name: [
                terms[index] for place, terms in enumerate(known) for index in found.row(place)[0].tolist()
            ]
            for name, found in rows.items()
        }

    def text_words(self, passages: Sequence[Passage]) -> int:
        """How many words of the passages' texts count: what ``avg_len`` is an average of."""
        words = 0
        for block in _blocks(passages):
            with self._table.lock:
                self._table.bound()
                words += int(self._numbers([passage.text for passage in block])[1].sum())
        return words

    def _numbers(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The numbers of all words of the texts, in their order, and how many each text has."""
        number = self._table.__getitem__
        known: dict[str, bytes] = {}
        packed = []
        for text in texts:
            said = known.get(text)
            if said is None:
                said = known[text] = b"".join(map(number, identifiers(text)))
            packed.append(said)
        lengths = np.fromiter(map(len, packed), dtype=np.int64, count=len(packed)) // 4
        return np.frombuffer(b"".join(packed), dtype="<u4"), lengths

    def _weigh(self, passages: Sequence[Passage]) -> tuple[SparseRows, int]:
        """Rows, and how many words were kept."""
        table = self._table
        count = len(passages)
        documents, numbers, shares = [], [], []
        with table.lock:
            table.bound()
            for field in self._fields:
                words, lengths = self._numbers(list(map(field.text_of, passages)))
                share = field.weight / (1 - self._b + self._b * lengths / field.avg_len)
                documents.append(np.repeat(np.arange(count), lengths))
                numbers.append(words)
                shares.append(np.repeat(share, lengths))
            order = np.argsort(np.concatenate(documents), kind="stable")
            keys = table.packed(np.concatenate(documents)[order], np.concatenate(numbers)[order])
            unique, inverse = np.unique(keys, return_inverse=True)
            found = np.bincount(inverse, np.concatenate(shares)[order], len(unique))
            values = found * (self._k + 1) / (found + self._k)
            return term_rows(count, keys, unique, values, table)[0], len(keys)


def _at(number: bytes) -> int:
    return int.from_bytes(number, "little")


def _blocks(passages: Sequence[Passage]) -> Iterator[Sequence[Passage]]:
    return (passages[start : start + _BLOCK] for start in range(0, len(passages), _BLOCK))
