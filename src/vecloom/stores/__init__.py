"""Where points live: one contract, several engines.

`vecloom.stores.edge` is the embedded engine, `vecloom.stores.client` anything that qdrant-client reaches.
One conformance suite (``tests/test_stores.py``) holds both to this contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from vecloom.stores import empty
from vecloom.types import Filter, Leg, Points, Record, Schema, Scored, VectorField, Vectors

#: Payload keys that filters use; every store indexes them as keywords.
INDEXED_KEYS = ("source", "path", "kind", "language", "chunk_hash", empty.KEY)

#: Payload key of points that are hidden from search, because their file is gone with the whole root of its
#: source, and its value. It is indexed where it is first used.
ABSENT_KEY, ABSENT = "absent", "yes"


class Store(Protocol):
    """An open store of points with named vectors.

    Every write is validated before it reaches the engine (`vecloom.stores.validate`) and is acknowledged
    when the call returns: a killed process loses nothing acknowledged. Points may lack named vectors; a
    sparse vector without a term counts as had (see `vecloom.stores.empty`). Ids are UUID strings.
    """

    schema: Schema

    def add_vector(self, field: VectorField) -> None:
        """Add a named vector to the schema; the points lack it until `update_vectors`."""
        ...

    def upsert(self, points: Points) -> None:
        """Write whole points: an existing point of the same id is replaced, all its vectors included."""
        ...

    def update_vectors(self, ids: Sequence[str], vectors: Mapping[str, Vectors]) -> None:
        """Set the named vectors of existing points; their other vectors and payloads stay."""
        ...

    def update_payloads(self, ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Set (merge) payload keys of existing points; their vectors stay."""
        ...

    def index_key(self, key: str) -> None:
        """Index a payload key as a keyword; nothing happens where it is indexed already."""
        ...

    def mark(self, where: Filter, key: str, value: str | None) -> None:
        """Set one payload key of all points that match, or remove it (None)."""
        ...

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> None:
        """Delete points by id or by filter (exactly one of them)."""
        ...

    def search(
        self, legs: Sequence[Leg], where: Filter | None, limit: int, fields: Sequence[str]
    ) -> list[list[Scored]]:
        """One ranked list a leg, in one batch call; payloads hold ``fields`` only.

        Within a list: score descending, equal scores by id. A server may give less than ``limit``, if that is
        more than it allows.
        """
        ...

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, vectors: Sequence[str] = ()
    ) -> list[Record]:
        """The points of these ids that exist, in the order asked. ``fields`` None: the whole payload."""
        ...

    def scroll(
        self,
        where: Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Points in the order of their ids, from the one behind ``after``, at most ``limit``."""
        ...

    def count(self, where: Filter | None = None, exact: bool = True) -> int:
        """How many points; about how many where ``exact`` is False and that takes less."""
        ...

    def facet(self, key: str, where: Filter | None = None) -> dict[str, int]:
        """How many points hold each value of an indexed payload key."""
        ...

    def finalize(self) -> None:
        """Make what was written durable against power loss."""
        ...

    def close(self) -> None:
        """Close; a closed store raises StoreError on use. Closing twice is fine."""
        ...


def has_points(store: Store, where: Filter) -> bool:
    """True if a store holds a point that the filter matches: less work than to count them all."""
    return next(store.scroll(where, (), limit=1), None) is not None


class Access(Protocol):
    """Opens a store for moments: others may want it too."""

    def open(self, purpose: str) -> AbstractContextManager[Store]:
        """The open store, for this ``with`` block only.

        Raises:
            StoreBusyError: it could not be had in time; the message says who holds it.
            StoreError: it cannot be opened.
        """
        ...

    def close(self) -> None:
        """Let go of what is still open."""
        ...
