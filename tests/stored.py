"""What an index holds, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vecloom.config import Config
from vecloom.index import Index
from vecloom.registry import DEFAULT_MODELS

#: Id -> payload and vectors of every point.
Contents: TypeAlias = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def contents(index: Index) -> Contents:
    """All that the points of an index hold, to the last bit."""
    names = [v.name for v in index._manifest.schema(index._registry).vectors]
    with index._home.access.open("test") as store:
        return {
            record.id: (dict(record.payload), {name: _plain(v) for name, v in record.vectors.items()})
            for record in store.scroll(vectors=names)
        }


def _plain(vector: Any) -> Any:
    return [part.tolist() for part in vector] if isinstance(vector, tuple) else vector.tolist()


def fresh(folder: Path, config: Config, *roots: Path, models: Sequence[str] = DEFAULT_MODELS) -> Contents:
    """What a clean index of the trees holds, made in ``folder``."""
    with Index.create(folder, models, config=config) as index:
        index.add(*roots)
        return contents(index)


def differences(found: Contents, wanted: Contents) -> list[str]:
    """What is lost, left over or other than wanted, one line a point."""
    lines = [f"lost: {_named(wanted[point])}" for point in wanted.keys() - found.keys()]
    lines += [f"left over: {_named(found[point])}" for point in found.keys() - wanted.keys()]
    for point in wanted.keys() & found.keys():
        (payload, vectors), (clean, clean_vectors) = found[point], wanted[point]
        fields = sorted(key for key in {*payload, *clean} if payload.get(key) != clean.get(key))
        fields += sorted(
            key for key in {*vectors, *clean_vectors} if vectors.get(key) != clean_vectors.get(key)
        )
        if fields:
            lines.append(f"other {', '.join(fields)}: {_named(wanted[point])}")
    return sorted(lines)


def _named(point: tuple[dict[str, Any], dict[str, Any]]) -> str:
    return "{source}/{path}:{start_byte}-{end_byte}".format_map(point[0])
