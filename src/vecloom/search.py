"""A question to hits: the query encoded for each leg, one batch of searches, fusion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast, get_args

from vecloom.errors import UsageError
from vecloom.fusion import FusionName, fuse, spread_over_files
from vecloom.globs import glob_regex
from vecloom.stores import Store
from vecloom.types import Filter, Hit, Leg, LegHit, Schema, SparseRows, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: How many hits can be asked for: each leg fetches ten times as many candidates.
MOST_HITS = 1000

#: Keys that ``--filter`` takes. ``path`` is a glob, the others are compared whole.
FILTER_KEYS = ("path", "language", "kind", "source")

_FILE_FIELDS = ("source", "path")
_HIT_FIELDS = ("source", "path", "start_line", "end_line", "breadcrumb", "text")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, checked once.

    ``using``: vector names (empty: all of the schema). ``weights``: by vector name, 1 where not named.
    ``filters``: key -> values of which one must match. ``per_file``: that many chunks of a file come before
    other files have run out.
    """

    text: str
    limit: int = 10
    using: tuple[str, ...] = ()
    fusion: FusionName = "rrf"
    weights: Mapping[str, float] = field(default_factory=dict)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    per_file: int = 1

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("the query is empty; say what to look for")
        if not 1 <= self.limit <= MOST_HITS or self.per_file < 1:
            raise UsageError(f"limit is 1 to {MOST_HITS}, per-file from 1; not {self.limit}, {self.per_file}")
        if self.fusion not in get_args(FusionName):
            raise UsageError(
                f"no fusion is called {self.fusion!r}; there are {', '.join(get_args(FusionName))}"
            )
        for name, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {name} is {weight}; weights are finite and not below 0")
        for key in self.filters:
            if key not in FILTER_KEYS:
                raise UsageError(f"no filter is called {key!r}; there are {', '.join(FILTER_KEYS)}")

    @property
    def depth(self) -> int:
        """How many candidates each leg fetches."""
        return max(100, 10 * self.limit)

    def names(self, schema: Schema) -> tuple[str, ...]:
        """The vector names to search, in the schema's order.

        Multivectors, which compare every token with every token, only where they are named.
        """
        known = tuple(v.name for v in schema.vectors)
        unknown = [name for name in (*self.using, *self.weights) if name not in known]
        if unknown:
            raise UsageError(f"the index has no vector {unknown[0]!r}; it has {', '.join(known)}")
        quick = [v.name for v in schema.vectors if v.kind != "multivector"]
        wanted = self.using or quick or known
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


def search(store: Store, query: Query, vectors: Mapping[str, Vectors]) -> list[Hit]:
    """The best hits of ``query``, whose encoded form is row 0 of ``vectors`` (by vector name)."""
    where = resolve_filter(store, query.filters)
    # Another process may have added a vector since the query was encoded.
    legs = legs_of(vectors, [name for name in query.names(store.schema) if name in vectors])
    if where is None or not legs:
        return []
    lists = store.search(legs, where if query.filters else None, query.depth, _FILE_FIELDS)
    found = {leg.name: hits for leg, hits in zip(legs, lists, strict=True)}
    files = {hit.id: tuple(hit.payload[f] for f in _FILE_FIELDS) for hits in lists for hit in hits}
    kinds = {v.name: v.kind for v in store.schema.vectors}
    weights = {name: query.weights.get(name, 1.0) for name in found}
    ranked = fuse(found, query.fusion, weights, kinds)
    best = dict(spread_over_files(ranked, files.__getitem__, query.per_file)[: query.limit])
    places: dict[str, dict[str, LegHit]] = {point: {} for point in best}
    for name, hits in found.items():
        for rank, hit in enumerate(hits, 1):
            if hit.id in places:
                places[hit.id][name] = LegHit(rank, hit.score)
    return [
        Hit(
            id=record.id,
            score=best[record.id],
            legs=places[record.id],
            **{name: record.payload[name] for name in _HIT_FIELDS},
        )
        for record in store.get(list(best), _HIT_FIELDS)
    ]
