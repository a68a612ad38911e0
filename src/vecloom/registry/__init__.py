"""The models as rows: one table of facts, and the lookup over it.

A row gives one named vector, or it is a reranker, which gives scores. What a row can say is
`vecloom.registry.spec.ModelSpec`; the rows that come along are in `vecloom.registry.builtin`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from vecloom.errors import UnknownModelError, UsageError
from vecloom.registry.builtin import BUILTIN, DEFAULT_MODELS, FORMER_DEFAULT_MODELS
from vecloom.registry.spec import (
    GoldenVector,
    ModelFile,
    ModelKind,
    ModelSpec,
    Pooling,
    Role,
    Wheel,
)

__all__ = [
    "BUILTIN",
    "DEFAULT_MODELS",
    "FORMER_DEFAULT_MODELS",
    "GoldenVector",
    "ModelFile",
    "ModelKind",
    "ModelSpec",
    "Pooling",
    "Registry",
    "Role",
    "Wheel",
]


class Registry:
    """Rows by key, vector name, alias or hub id, in any case. A later row replaces one of its key."""

    def __init__(self, extra: Iterable[ModelSpec] = ()) -> None:
        rows = {spec.key: spec for spec in BUILTIN}
        self.replaced: tuple[str, ...] = ()
        for spec in extra:
            if spec.key in rows:
                self.replaced += (spec.key,)
            rows[spec.key] = spec
        self.rows: Mapping[str, ModelSpec] = rows
        self._names: dict[str, str] = {}
        for spec in rows.values():
            for name in (spec.hub_id, *spec.aliases, spec.vector_name):
                if name is not None:
                    self._names.setdefault(name.lower(), spec.key)
        self._names |= {key.lower(): key for key in rows}

    def find(self, name: str) -> ModelSpec:
        """The row that ``name`` (key, alias, vector name or hub id) means; ``KEY:DIM`` cuts its dimension.

        Raises:
            UnknownModelError: no row answers; the message names the nearest keys.
            UsageError: a dimension that the row does not offer.
        """
        base, colon, dim = name.partition(":")
        key = self._names.get(base.strip().lower())
        if key is None:
            near = difflib.get_close_matches(base.lower(), self._names, n=3, cutoff=0.4)
            keys = list(dict.fromkeys(self._names[n] for n in near)) or list(self.rows)
            raise UnknownModelError(
                f"no model is called {base!r}; nearest: {', '.join(keys)} (vecloom models list)"
            )
        spec = self.rows[key]
        if not colon:
            return spec
        if not dim.isdecimal() or int(dim) not in (*spec.matryoshka_dims, spec.dim):
            offered = ", ".join(map(str, spec.matryoshka_dims)) or f"only {spec.dim}"
            raise UsageError(f"{spec.key} has no dimension {dim!r}; it offers {offered}")
        return replace(spec, dim=int(dim))

    def runnable(self, name: str) -> ModelSpec:
        """The row of a model of any kind, unless it cannot be run.

        Raises:
            UnknownModelError: no row answers to the name.
            UsageError: the model cannot be run; the message says why.
        """
        spec = self.find(name)
        if spec.refused:
            raise UsageError(f"{spec.key} cannot be run: {spec.refused}")
        return spec

    def select(self, names: Iterable[str]) -> tuple[ModelSpec, ...]:
        """The rows of ``names`` in order, to make vectors with.

        Raises:
            UnknownModelError: no row answers to a name.
            UsageError: none is named, a row or a vector name is asked twice, or one is a reranker or cannot
                be run.
        """
        specs = tuple(self.runnable(name) for name in names)
        if not specs:
            raise UsageError("no model was named; leave --models out for the default ones")
        seen: dict[str, str] = {}
        for spec in specs:
            if spec.kind == "reranker":
                raise UsageError(
                    f"{spec.key} is a reranker: it scores a query and a text together and gives no vector; "
                    "name a dense, sparse or multivector model (vecloom models list)"
                )
            if spec.vector_name in seen:
                raise UsageError(
                    f"{spec.key} and {seen[spec.vector_name]} both fill {spec.vector_name!r}; name one"
                )
            seen[spec.vector_name] = spec.key
        return specs

    def reranker(self, name: str) -> ModelSpec:
        """The row of a reranker.

        Raises:
            UnknownModelError: no row answers to the name.
            UsageError: the row gives vectors, or the model cannot be run.
        """
        spec = self.runnable(name)
        if spec.kind != "reranker":
            known = ", ".join(row.key for row in self.rows.values() if row.kind == "reranker")
            raise UsageError(f"{spec.key} gives {spec.kind} vectors and does not rerank; there are {known}")
        return spec
