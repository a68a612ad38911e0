"""The models: texts to named vectors.

An encoder is one *pass*: it may give several named vectors (MiniLM dense and BM42 come out of one
forward). Which encoders serve a choice of rows is `vecloom.encoders.load.passes_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vecloom.types import Passage, SparseRows, Vectors

if TYPE_CHECKING:
    from vecloom.encoders.counters import CounterSettings


@dataclass(frozen=True, slots=True)
class PassStats:
    """What one call of an encoder did.

    ``tokens``: real tokens through the model, special ones included. ``padded``: tokens with padding
    (equal to ``tokens`` where nothing is padded). ``cut_texts`` and ``cut_tokens``: what a length limit
    dropped. ``reused``: texts that took over the vectors of an equal text and were not encoded themselves.
    """

    texts: int = 0
    tokens: int = 0
    padded: int = 0
    cut_texts: int = 0
    cut_tokens: int = 0
    reused: int = 0

    def __add__(self, other: PassStats) -> PassStats:
        return PassStats(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.padded + other.padded,
            self.cut_texts + other.cut_texts,
            self.cut_tokens + other.cut_tokens,
            self.reused + other.reused,
        )


@runtime_checkable
class Ahead(Protocol):
    """An encoder whose texts can be made ready while its device works on others."""

    def prepare(self, texts: Sequence[str]) -> None:
        """Tokenise stored texts, whose vectors will be asked for next."""
        ...


@runtime_checkable
class Fielded(Protocol):
    """An encoder that weighs the fields of a passage apart: path, defined names, text."""

    def encode_passages(
        self, passages: Sequence[Passage], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        """As `Encoder.encode_documents`, which takes a text for a passage without fields."""
        ...


@runtime_checkable
class Lengthwise(Protocol):
    """An encoder that weighs the words of a passage by how long it is, beside the average passage."""

    def text_words(self, passages: Sequence[Passage]) -> int:
        """How many words of these passages count, of what the row's ``avg_len`` is an average of."""
        ...


class Encoder(Protocol):
    """One pass over texts, giving one or several named vectors.

    ``names`` of a call asks for some of the pass's vectors only, and only their cost is paid; None asks for
    all. The vectors of a text depend on that text alone, to the last bit on one machine with one version.
    """

    #: Names of the vectors that a pass yields, as in the Qdrant point.
    names: tuple[str, ...]

    @property
    def counting(self) -> CounterSettings:
        """What counts a text's tokens, for chunk budgets."""
        ...

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        """Vectors of stored texts, in the order given. An empty list gives empty arrays of full width.

        Raises:
            EncodingError: the model gave NaN or infinity.
        """
        ...

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, Vectors]:
        """Vectors of search queries, in the order given."""
        ...

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """What sparse vectors stand for: the stem behind each of their ``indices``.

        ``rows``: those that `encode_documents` or `encode_queries` gave for these texts, by name. No model
        runs for it.
        """
        ...
