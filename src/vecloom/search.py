"""A question to hits: the query encoded for each leg, one batch of searches, fusion, ranking."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from vecloom import ranking
from vecloom.encoders.identifiers import JOINED
from vecloom.errors import UsageError
from vecloom.fusion import FusionName, fuse, ordered, spread_over_files, totals
from vecloom.globs import glob_regex
from vecloom.ranking import (
    LAYERS,
    STRENGTHS,
    Boosts,
    Contents,
    Layer,
    Strengths,
    default_legs,
    leg_weights,
    word_legs,
)
from vecloom.stores import ABSENT, ABSENT_KEY, Store
from vecloom.types import Explanation, Filter, Hit, Leg, LegHit, Schema, Scored, SparseRows, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How many hits can be asked for: each leg fetches ten times as many candidates.
MOST_HITS = 1000

#: Keys that ``--filter`` takes. ``path`` is a glob, the others are compared whole.
FILTER_KEYS = ("path", "language", "kind", "source")

#: Chunks whose vectors tell what any two chunks of an index share.
_SAMPLED = 64

_FILE_FIELDS = ("source", "path")
_HIT_FIELDS = ("source", "path", "start_line", "end_line", "breadcrumb", "text")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, checked once.

    ``using``: vector names (empty: the default ones). ``weights``: by vector name, 1 where not named.
    ``fusion`` None: "auto", with its layers of ranking but those of ``without``; "rrf" where legs or weights
    are named, because who names them wants just that. ``filters``: key -> values of which one must match.
    ``per_file``: that many chunks of a file come before other files have run out. ``explain``: also tell why.
    ``rerank_top``: at least so many hits are found, of which a reranker chooses ``limit``; None without one.
    """

    text: str
    limit: int = 10
    using: tuple[str, ...] = ()
    fusion: FusionName | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_file: int = 1
    without: tuple[str, ...] = ()
    explain: bool = False
    rerank_top: int | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("the query is empty; say what to look for")
        if not 1 <= self.limit <= MOST_HITS or self.per_file < 1:
            raise UsageError(f"limit is 1 to {MOST_HITS}, per-file from 1; not {self.limit}, {self.per_file}")
        if self.rerank_top is not None and not 1 <= self.rerank_top <= MOST_HITS:
            raise UsageError(f"a reranker reads 1 to {MOST_HITS} hits; not {self.rerank_top}")
        if self.fusion not in (None, *get_args(FusionName)):
            raise UsageError(
                f"no fusion is called {self.fusion!r}; there are {', '.join(get_args(FusionName))}"
            )
        for layer in self.without:
            if layer not in LAYERS:
                raise UsageError(f"no layer of ranking is called {layer!r}; there are {', '.join(LAYERS)}")
        if self.without and self.fused != "auto":
            raise UsageError(
                f"{self.fused} has no layers to leave out; name --fusion auto too, or leave --without out"
            )
        for name, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {name} is {weight}; weights are finite and not below 0")
        for key in self.filters:
            if key not in FILTER_KEYS:
                raise UsageError(f"no filter is called {key!r}; there are {', '.join(FILTER_KEYS)}")

    @property
    def fused(self) -> FusionName:
        """The fusion that is meant."""
        return self.fusion or ("rrf" if self.using or self.weights else "auto")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of ranking that apply."""
        if self.fused != "auto":
            return ()
        return tuple(layer for layer in LAYERS if layer not in self.without)

    @property
    def found(self) -> int:
        """How many hits are found, before a reranker chooses among them."""
        return max(self.limit, self.rerank_top or 0)

    @property
    def depth(self) -> int:
        """How many candidates each leg fetches."""
        # Not ten times what a reranker reads: fused scores depend on it, and they should be the same without.
        return max(100, 10 * self.limit, self.found)

    def names(self, schema: Schema, incomplete: Sequence[str] = ()) -> tuple[str, ...]:
        """The vector names to search, in the schema's order; some points lack the ``incomplete`` ones.

        Where none is named: with "auto" those of `vecloom.ranking.default_legs` and those that have a weight,
        else all but multivectors, which compare every token with every token.
        """
        known = tuple(v.name for v in schema.vectors)
        unknown = [name for name in (*self.using, *self.weights) if name not in known]
        if unknown:
            raise UsageError(f"the index has no vector {unknown[0]!r}; it has {', '.join(known)}")
        wanted: Sequence[str] = self.using
        if not wanted and self.fused == "auto":
            wanted = [
                *default_legs(schema.vectors, incomplete),
                *(name for name, w in self.weights.items() if w > 0),
            ]
        elif not wanted:
            wanted = [v.name for v in schema.vectors if v.kind != "multivector"]
        wanted = wanted or known
        names = tuple(name for name in known if name in wanted)
        idle = [name for name, weight in self.weights.items() if weight > 0 and name not in names]
        if idle:
            raise UsageError(f"{idle[0]} has a weight and is not searched; name it in --using too")
        names = tuple(name for name in names if self.weights.get(name, 1.0) > 0)
        if not names:
            raise UsageError("every leg has the weight 0; leave one in")
        return names


def legs_of(vectors: Mapping[str, Vectors], names: Sequence[str]) -> list[Leg]:
    """Row 0 of encoded queries as legs; a sparse query without a term is left out."""
    legs = []
    for name in names:
        encoded = vectors[name]
        if isinstance(encoded, SparseRows):
            indices, values = encoded.row(0)
            if len(indices):
                legs.append(Leg(name, (indices, values)))
        else:
            legs.append(Leg(name, cast("Sequence[NDArray[np.float32]]", encoded)[0]))
    return legs


def path_pattern(glob: str) -> re.Pattern[str]:
    """What a ``path`` filter matches, whole.

    ``*`` and ``?`` stay within a folder, ``**`` crosses folders; a glob without an inner slash matches at
    any depth; a folder stands for all that is below it.
    """
    glob = glob.removeprefix("./")
    body = glob.strip("/")
    anywhere = "" if "/" in body or glob.startswith("/") else "(?:.*/)?"
    return re.compile(f"{anywhere}{glob_regex(body)}(?:/.*)?", re.DOTALL)


def resolve_filter(store: Store, filters: Mapping[str, tuple[str, ...]]) -> Filter | None:
    """The filters as the store takes them, or None where nothing can match.

    Path globs are resolved to the paths that the store holds before anything is searched, so that a limit
    never cuts away what matches.
    """
    match = {key: tuple(values) for key, values in filters.items() if key != "path"}
    if globs := filters.get("path"):
        patterns = [path_pattern(glob) for glob in globs]
        paths = tuple(sorted(p for p in store.facet("path") if any(x.fullmatch(p) for x in patterns)))
        if not paths:
            return None
        match["path"] = paths
    return Filter(match=match)


def contents_of(store: Store) -> Contents:
    """What the ranking asks of an index, from its counts and some of its vectors."""
    dense = [v.name for v in store.schema.vectors if v.kind == "dense"]
    background = {}
    for name in dense:
        records = store.scroll(Filter(has=(name,)), (), (name,), limit=_SAMPLED)
        rows = [record.vectors[name] for record in records]
        if len(rows) > 1:
            vectors = np.stack(rows).astype(np.float64)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            total, count = vectors.sum(axis=0), len(vectors)
            background[name] = float((total @ total - count) / (count * (count - 1)))
    return Contents("code" in store.facet("kind"), background)


def search(
    store: Store,
    query: Query,
    vectors: Mapping[str, Vectors],
    *,
    incomplete: Sequence[str] = (),
    contents: Contents | None = None,
    terms: Mapping[str, Mapping[int, str]] | None = None,
    hide_absent: bool = False,
) -> list[Hit]:
    """The best hits of ``query``, whose encoded form is row 0 of ``vectors`` (by vector name).

    Some points lack the ``incomplete`` vectors. ``contents`` is asked of the store where it is needed and not
    given. ``terms``: sparse vector -> index in its query -> the word behind it. ``hide_absent``: points whose
    file is gone with its root (`vecloom.stores.ABSENT_KEY`) are no hits.
    """
    where = resolve_filter(store, query.filters)
    # Another process may have added a vector since the query was encoded.
    legs = legs_of(vectors, [name for name in query.names(store.schema, incomplete) if name in vectors])
    if query.fused == "auto":
        contents = contents or contents_of(store)
        if not contents.code or "joins" not in query.layers:
            known = {name: (terms or {}).get(name, {}) for name in word_legs(store.schema.vectors)}
            legs = [_without_joins(leg, known.get(leg.name, {})) for leg in legs]
    if where is None or not legs:
        return []
    fields = (*_FILE_FIELDS, *ranking.FIELDS) if query.fused == "auto" else _FILE_FIELDS
    if hide_absent:
        where = replace(where, unless={ABSENT_KEY: (ABSENT,)})
    lists = store.search(legs, where if query.filters or hide_absent else None, query.depth, fields)
    found = {leg.name: hits for leg, hits in zip(legs, lists, strict=True)}
    shares, boosts = scored(query, found, store.schema, contents or Contents())
    files = {hit.id: tuple(hit.payload[f] for f in _FILE_FIELDS) for hits in lists for hit in hits}
    scores = {point: score + sum(boosts.get(point, {}).values()) for point, score in totals(shares).items()}
    best = dict(spread_over_files(ordered(scores), files.__getitem__, query.per_file)[: query.found])
    words = [leg.name for leg in legs if isinstance(leg.vector, tuple)] if query.explain else []
    places = _places(found, best)
    ranked = []
    for record in store.get(list(best), _HIT_FIELDS, words):
        why = None
        if query.explain:
            matched = _matched(record.vectors, legs, terms or {})
            why = Explanation(shares[record.id], boosts.get(record.id, {}), matched)
        payload = {name: record.payload[name] for name in _HIT_FIELDS}
        ranked.append(Hit(record.id, best[record.id], legs=places[record.id], explanation=why, **payload))
    return ranked


def _places(found: Mapping[str, Sequence[Scored]], points: Iterable[str]) -> dict[str, dict[str, LegHit]]:
    """Where each leg placed these points."""
    places: dict[str, dict[str, LegHit]] = {point: {} for point in points}
    for name, hits in found.items():
        for rank, hit in enumerate(hits, 1):
            if hit.id in places:
                places[hit.id][name] = LegHit(rank, hit.score)
    return places


def encoded_texts(store: Store, hits: Sequence[Hit]) -> list[str]:
    """What a model without fields was given of each hit: its header and text."""
    headers = {record.id: record.payload["header"] for record in store.get([h.id for h in hits], ("header",))}
    # On a server another process may have deleted a hit meanwhile.
    return [headers.get(hit.id, "") + hit.text for hit in hits]


def in_order_of(scores: Sequence[float], hits: Sequence[Hit], query: Query) -> list[Hit]:
    """The best ``query.limit`` of ``hits`` by a reranker's ``scores``, spread over files as the query asks.

    Of equal scores the better hit comes first.
    """
    by_id = {hit.id: replace(hit, reranked=score) for hit, score in zip(hits, scores, strict=True)}
    ranked = sorted(zip(by_id, scores, strict=True), key=lambda item: -item[1])

    def file_of(point: str) -> tuple[str, str]:
        return by_id[point].source, by_id[point].path

    best = spread_over_files(ranked, file_of, query.per_file)[: query.limit]
    return [by_id[point] for point, _ in best]


def scored(
    query: Query,
    found: Mapping[str, Sequence[Scored]],
    schema: Schema,
    contents: Contents,
    strengths: Strengths = STRENGTHS,
) -> tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]:
    """Point -> leg -> its share, and point -> layer -> what it adds."""
    fields = {v.name: v for v in schema.vectors}
    kinds = {name: fields[name].kind for name in found}
    if query.fused != "auto":
        weights = {name: query.weights.get(name, 1.0) for name in found}
        return fuse(found, query.fused, weights, kinds), {}
    weights = leg_weights(found, fields, contents, query.weights, query.layers, strengths)
    shares = fuse(found, query.fused, weights, kinds)
    scores = totals(shares)
    payloads = {hit.id: hit.payload for hits in found.values() for hit in hits}
    of_query = Boosts(query.text, contents, query.layers, strengths)
    top = max(scores.values(), default=0.0)
    return shares, {point: of_query.of(payloads[point], score, top) for point, score in scores.items()}


def _without_joins(leg: Leg, terms: Mapping[int, str]) -> Leg:
    """A leg without words that were joined: only in code is "error handler" one name."""
    if not isinstance(leg.vector, tuple):
        return leg
    indices, values = leg.vector
    kept = np.array([JOINED not in terms.get(index, "") for index in indices.tolist()], dtype=np.bool_)
    return Leg(leg.name, (indices[kept], values[kept]))


def _matched(
    vectors: Mapping[str, Any], legs: Sequence[Leg], terms: Mapping[str, Mapping[int, str]]
) -> dict[str, dict[str, float]]:
    """Sparse vector -> word of the query -> its weight in a chunk that holds it, heaviest first."""
    matched = {}
    for leg in legs:
        if isinstance(leg.vector, tuple) and leg.name in vectors:
            indices, values = vectors[leg.name]
            weights = dict(zip(indices.tolist(), values.tolist(), strict=True))
            words = terms.get(leg.name, {})
            shared = [index for index in leg.vector[0].tolist() if index in weights]
            found = {words.get(index, str(index)): weights[index] for index in shared}
            matched[leg.name] = dict(sorted(found.items(), key=lambda item: -item[1]))
    return matched
