"""The default order of hits: how much each leg says for this query, and what paths and names say.

Pure functions over what the legs found, so that every store gives the same order. Each layer can be left
out by its name; docs/ranking.md tells what each gains, costs, and where it hurts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from vecloom.ranking.names import filename_match, name_asked, query_words, same_name
from vecloom.ranking.paths import is_sample, is_stub, is_test
from vecloom.types import Scored, VectorField

Layer: TypeAlias = Literal["weights", "joins", "filename", "definition", "tests", "stubs", "samples", "prose"]
LAYERS: tuple[Layer, ...] = get_args(Layer)

#: How many hits a reranker reads where nothing else is asked.
RERANK_TOP = 30

#: What the layers read of a hit's payload.
FIELDS = ("path", "kind", "language", "defines")

#: The words' share of a score at most; and where nothing is known of the dense leg.
_MOST_WORDS, _EVEN_WORDS = 0.6, 0.3

#: Who asks for these finds them.
_TEST_WORDS = frozenset({"test", "tests", "testing", "tested", "spec", "specs"})
_SAMPLE_WORDS = frozenset({"example", "examples", "sample", "samples", "demo", "demos", "vendor", "vendored"})

#: Of the legs that find the same words, the one that is searched by default is the first that there is.
WORD_LEGS = ("bm25-code", "bm25")


@dataclass(frozen=True, slots=True)
class Contents:
    """What an index holds, as far as ranking asks.

    ``code``: whether there is code among it. ``background``: dense vector -> the mean cosine of two of its
    chunks taken at random, which is high for some models and for texts that are much alike.
    """

    code: bool = False
    background: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Strengths:
    """How much each layer weighs; how they were found is told in docs/ranking.md.

    ``words``: the words' share of a score where the dense leg knows nothing better than what any two chunks
    have in common. ``filename`` and ``definition``: shares of the best score that are added. The others are
    factors.
    """

    words: float = 0.375
    filename: float = 0.4
    definition: float = 0.2
    tests: float = 0.8
    stubs: float = 0.9
    samples: float = 0.8
    prose: float = 0.9


STRENGTHS = Strengths()


def word_legs(vectors: Sequence[VectorField]) -> list[str]:
    """The sparse vectors over words, in their order: those that need an idf."""
    return [v.name for v in vectors if v.kind == "sparse" and v.modifier == "idf"]


def default_legs(vectors: Sequence[VectorField], incomplete: Sequence[str] = ()) -> list[str]:
    """The vectors that are searched where nothing else is asked, in their order.

    Multivectors, which compare every token with every token, are not among them; and of the sparse vectors
    over words only one is, as their hits are nearly the same: rather one that no points lack.
    """
    words = word_legs(vectors)
    whole = [name for name in words if name not in incomplete] or words
    chosen = next((name for name in (*WORD_LEGS, *whole) if name in whole), None)
    quick = [v.name for v in vectors if v.kind != "multivector"]
    return [name for name in quick if name not in words or name == chosen]


def leg_weights(
    found: Mapping[str, Sequence[Scored]],
    fields: Mapping[str, VectorField],
    contents: Contents,
    asked: Mapping[str, float],
    layers: Sequence[Layer],
    strengths: Strengths = STRENGTHS,
) -> dict[str, float]:
    """Each leg's weight for one query; sparse and dense legs share 1, each group alike among its own.

    A leg that found nothing (its vectors are not there yet) has no weight.

    The better the best dense hit is, measured from the background up to 1, the less words count.
    ``asked``: factors on top, 1 where not named.
    """
    heard = [name for name, hits in found.items() if hits]
    sparse = [name for name in heard if fields[name].kind == "sparse"]
    dense = [name for name in heard if name not in sparse]
    doubts = [
        (1 - found[name][0].score) / (1 - contents.background[name])
        for name in dense
        if contents.background.get(name, 1.0) < 1
    ]
    share = _EVEN_WORDS
    if doubts and "weights" in layers:
        share = min(_MOST_WORDS, max(0.0, strengths.words * sum(doubts) / len(doubts)))
    if not sparse or not dense:
        share = 1.0 if sparse else 0.0
    weights = {name: share / len(sparse) for name in sparse}
    weights |= {name: (1 - share) / len(dense) for name in dense}
    return {name: weights.get(name, 0.0) * asked.get(name, 1.0) for name in found}


class Boosts:
    """What paths and names say of hits, for one query."""

    def __init__(
        self, text: str, contents: Contents, layers: Sequence[Layer], strengths: Strengths = STRENGTHS
    ) -> None:
        self._words = query_words(text)
        self._name = name_asked(text)
        self._contents = contents
        self._layers = layers
        self._strengths = strengths
        self._files: dict[str, float] = {}

    def of(self, payload: Mapping[str, Any], score: float, best: float) -> dict[str, float]:
        """Layer -> what it adds to a hit's fused ``score``, or takes; ``best`` is that of the best hit."""
        added: dict[str, float] = {}
        path = payload["path"]
        if "filename" in self._layers:
            if path not in self._files:
                self._files[path] = filename_match(self._words, path)
            added["filename"] = self._strengths.filename * best * self._files[path]
        if "definition" in self._layers and self._name:
            names = payload.get("defines", "").split("\n")
            defined = any(same_name(self._name, name) for name in names)
            added["definition"] = self._strengths.definition * best * defined
        total = score + sum(added.values())
        for layer, factor in self._factors(payload):
            if layer in self._layers:
                added[layer] = total * (factor - 1)
                total *= factor
        return {layer: value for layer, value in added.items() if value}

    def _factors(self, payload: Mapping[str, Any]) -> Iterable[tuple[Layer, float]]:
        path, code = payload["path"], payload["kind"] == "code"
        silent_on = self._words.spoken.isdisjoint
        if code and silent_on(_TEST_WORDS) and is_test(path, payload["language"]):
            yield "tests", self._strengths.tests
        if code and is_stub(path):
            yield "stubs", self._strengths.stubs
        if code and silent_on(_SAMPLE_WORDS) and is_sample(path):
            yield "samples", self._strengths.samples
        if self._contents.code and payload["kind"] == "prose":
            yield "prose", self._strengths.prose
