"""What the engines have in common: tuning profiles, pages, and the wording of refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vecloom.errors import StoreError
from vecloom.types import Record, Schema, VectorField

#: Points in one page of a scroll.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Profile:
    """How a graph is built; ``full_scan_threshold`` in KB. Quantised means int8 scalar, rescored."""

    m: int
    ef_construct: int
    full_scan_threshold: int
    quantised: bool


PROFILES = {
    "default": Profile(16, 100, 10_000, quantised=False),
    "v5": Profile(48, 512, 50_000, quantised=True),
}

#: Of the profile ``v5``: what int8 cuts off at the ends, and how many candidates it rescores.
QUANTILE = 0.99
OVERSAMPLING = 2.0


def dim_of(field: VectorField) -> int:
    """The dimension of a dense or multivector field."""
    if field.dim is None:
        raise StoreError(f"the {field.kind} vector {field.name!r} needs a dimension; name one in its row")
    return field.dim


def grown(where: object, schema: Schema, field: VectorField) -> Schema | None:
    """The schema with a further field, or None where it has that very field."""
    known = schema.field(field.name)
    if known is None:
        return Schema((*schema.vectors, field), schema.profile)
    if known != field:
        raise StoreError(f"{where} has a vector {field.name!r} of another kind: {known}")
    return None


def missing_point(where: object, ids: Sequence[str], there: set[str]) -> StoreError | None:
    """The refusal to update a point that is not there, or None where all are."""
    missing = next((point for point in ids if point not in there), None)
    if missing is None:
        return None
    return StoreError(f"{where} has no point {missing}; upsert it before its parts are updated")


def pages(
    fetch: Callable[[Any, int], tuple[list[Record], Any]],
    after: str | None,
    limit: int | None,
    size: Callable[[], int] = lambda: PAGE,
) -> Iterator[Record]:
    """Records in pages. ``fetch(offset, size)`` gives a page from ``offset`` on, and the next offset or None.

    ``size``: the most records of a page, asked once the first one is read. An engine's offset is the first
    point of a page, the contract's ``after`` the last one seen.
    """
    offset: Any = after
    left = limit
    while left is None or left > 0:
        page, offset = fetch(offset, size() if left is None else min(size(), left + 1))
        page = [record for record in page if record.id != after][:left]
        yield from page
        left = None if left is None else left - len(page)
        if offset is None:
            return
