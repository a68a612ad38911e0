"""The nouns that the layers pass to each other: frozen, without I/O and without heavy imports.

NumPy is imported for its types only; arrays are float32 (dense), CSR triples (sparse) or lists of
float32 matrices (multivectors), never lists of floats.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind: TypeAlias = Literal["code", "prose", "notebook", "data"]
VectorKind: TypeAlias = Literal["dense", "sparse", "multivector"]
ProfileName: TypeAlias = Literal["default", "v5"]

#: Namespace of the chunk ids (UUIDv5). Changing it changes every id of every index.
CHUNK_NAMESPACE = uuid.UUID("bbd2e97b-4a50-5fdc-b27e-ee60ee9bd19e")


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of an extracted text: a notebook cell, a page.

    ``start`` and ``end`` are offsets in characters into the document's text.
    """

    label: str
    start: int
    end: int
    kind: Kind
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    r"""One file, decoded.

    ``text`` keeps the file's own line ends (``\r\n`` too); for notebooks, PDF and docx it is the extracted
    text, and ``parts`` tells the cells or pages. ``hash`` is the sha256 (hex) of the file's bytes. ``title``
    opens the breadcrumb of every chunk; ``path_in_header`` is False where the path says nothing (records of
    a JSONL file). ``encoding`` is what the bytes were decoded from. ``lost`` tells what could not be read of
    a document that otherwise could.
    """

    source: str
    path: str
    text: str
    kind: Kind
    language: str | None
    hash: str
    title: str = ""
    path_in_header: bool = True
    parts: tuple[Part, ...] = ()
    encoding: str = "utf-8"
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """An exact slice of a document's text.

    Lines are 1-based and inclusive; bytes count the text's UTF-8, end exclusive. A document's chunks in
    order give its text back. ``header`` is the context that precedes the text when it is encoded
    (it ends with a newline unless it is empty), ``breadcrumb`` the symbol or heading path, joined by " > ".
    ``defines``: names of what begins in the chunk (definitions, sections), one a line.
    """

    text: str
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    breadcrumb: str
    header: str
    defines: str = ""

    @property
    def encoded_text(self) -> str:
        """What a model without fields sees."""
        return self.header + self.text


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as the models are given it.

    Most see ``encoded_text``. One that weighs fields sees them apart: the chunk's ``text``, the ``path`` (""
    where it says nothing), what the chunk ``defines`` (one name a line) and the names it lies ``within``
    (joined by " > ").
    """

    header: str
    text: str
    path: str = ""
    within: str = ""
    defines: str = ""

    @property
    def encoded_text(self) -> str:
        """What a model without fields sees."""
        return self.header + self.text


#: What an encoder takes: a plain text is a passage without fields.
Text: TypeAlias = "str | Passage"


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse vectors as CSR triples.

    ``indptr`` int64 [n + 1], ``indices`` uint32 [nnz], sorted and unique within a row, ``values`` float32
    [nnz], finite. Row i is ``indices[indptr[i]:indptr[i + 1]]``.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, i: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Indices and values of row ``i``, as views."""
        start, end = int(self.indptr[i]), int(self.indptr[i + 1])
        return self.indices[start:end], self.values[start:end]


#: float32 [n, dim], CSR triples of n rows, or n matrices of float32 [tokens, dim].
Vectors: TypeAlias = "NDArray[np.float32] | SparseRows | list[NDArray[np.float32]]"


@dataclass(frozen=True, slots=True)
class VectorField:
    """One named vector of a store's schema. ``dim`` is None for sparse, ``modifier`` None for dense."""

    name: str
    kind: VectorKind
    dim: int | None = None
    modifier: Literal["idf"] | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """The named vectors of a store and its tuning profile. Dense vectors compare by cosine."""

    vectors: tuple[VectorField, ...]
    profile: ProfileName = "default"

    def field(self, name: str) -> VectorField | None:
        """The field called ``name``, or None."""
        return next((v for v in self.vectors if v.name == name), None)


@dataclass(frozen=True, slots=True)
class Points:
    """Points in columns: ``ids`` (UUID strings), one payload each, and per vector name n vectors."""

    ids: Sequence[str]
    payloads: Sequence[Mapping[str, Any]]
    vectors: Mapping[str, Vectors]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Filter:
    """A conjunction of conditions on points.

    ``match``: payload key -> the values of which one must be present. ``unless``: payload key -> values of
    which none may be present. ``has`` and ``lacks``: vector names that the point has or lacks.
    """

    match: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    unless: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leg:
    """One query vector against one named vector: float32 [dim], or (indices, values) of a sparse query."""

    name: str
    vector: NDArray[np.float32] | tuple[NDArray[np.uint32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Scored:
    """A point that a leg found, best first in its list. Higher scores are better."""

    id: str
    score: float
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A point read back: its payload (the fields asked for) and vectors (the names asked for).

    Dense vectors are float32 [dim], sparse ones (uint32 indices sorted, float32 values).
    """

    id: str
    payload: Mapping[str, Any]
    vectors: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LegHit:
    """Where one leg placed a hit: rank from 1, and the leg's own score."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit stands where it stands.

    ``shares``: vector name -> what that leg adds to the score. ``boosts``: layer of the ranking -> what it
    adds, or takes (below 0); the score is the sum of all. ``terms``: sparse vector -> word of the query that
    the chunk holds -> its weight in the chunk, before the idf.
    """

    shares: Mapping[str, float]
    boosts: Mapping[str, float]
    terms: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    ``legs`` tells, per vector name, where that leg placed it; ``explanation`` why it stands where it stands,
    if that was asked. ``reranked``: what a reranker made of it, which then is its order.
    """

    id: str
    score: float
    source: str
    path: str
    start_line: int
    end_line: int
    breadcrumb: str
    text: str
    legs: Mapping[str, LegHit]
    explanation: Explanation | None = None
    reranked: float | None = None


class TokenCounter(Protocol):
    """Counts tokens the way a model's own tokenizer does, special tokens left out."""

    #: Special tokens that the model adds to every text.
    specials: int
    #: True where the count of a text is the sum of the counts of its lines (WordPiece, words).
    additive: bool

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        ...
