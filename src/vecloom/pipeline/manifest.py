"""``index.json``: what an index was made with, and where its shard lies."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vecloom.durable import PART, written
from vecloom.errors import IndexFormatError
from vecloom.recipe import Asked, ModelRecord, Recipe, changed
from vecloom.registry import Registry
from vecloom.types import ProfileName, Schema

#: Version of the index folder's layout. A reader refuses what is newer.
FORMAT = 1
FILE_NAME = "index.json"

#: What is to become it.
PART_NAME = f"{FILE_NAME}{PART}"


@dataclass(frozen=True, slots=True)
class Manifest(Recipe):
    """What an index was made with, and how far it is.

    ``sources``: name -> absolute root (kept on this machine only). ``unfinished``: sources that an index run
    began to read and has not read to the end. ``incomplete``: vector names that some points lack.
    ``profile``: how graphs are built and searched.
    """

    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    shard: str = "shard-1"
    sources: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    profile: ProfileName = "default"

    def schema(self, registry: Registry) -> Schema:
        """The store's schema: one named vector a model."""
        return Schema(Recipe.schema(self, registry).vectors, self.profile)

    @classmethod
    def of(cls, recipe: Recipe, **more: Any) -> Manifest:
        """The manifest of an empty index that is made by ``recipe``."""
        return cls(**{part.name: getattr(recipe, part.name) for part in fields(Recipe)}, **more)

    def save(self, folder: Path) -> None:
        """Replace ``index.json`` in one step, durably."""
        with written(folder / FILE_NAME) as file:
            file.write(json.dumps(said_of(self), indent=1).encode())


def record_in(folder: Path, **changes: Any) -> None:
    """Change fields of an index's manifest. The caller holds its writer lock."""
    replace(load_manifest(folder), **changes).save(folder)


def load_manifest(folder: Path) -> Manifest:
    """Read ``index.json``.

    Raises:
        IndexFormatError: there is none, it cannot be read, or a newer version wrote it.
    """
    path = folder / FILE_NAME
    try:
        said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise IndexFormatError(f'{folder} holds no index; make one with "vecloom index PATH"') from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return manifest_of(said, path)


def said_of(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON."""
    return {"format": FORMAT, **asdict(manifest)}


def manifest_of(said: Any, place: object) -> Manifest:
    """The manifest that JSON says, found at ``place``.

    Raises:
        IndexFormatError: it says none, or a newer version wrote it.
    """
    try:
        said = dict(said)
        found = said.pop("format")
        if found > FORMAT:
            from vecloom.installation import describe_upgrade

            raise IndexFormatError(
                f"{place} was written by a newer vecloom (format {found}, this one reads {FORMAT}); "
                f'{describe_upgrade()}, or make it anew with "vecloom index --rebuild"'
            )
        models = tuple(ModelRecord(**model) for model in said.pop("models"))
        said |= {name: tuple(said[name]) for name in ("counted_by", "incomplete", "unfinished")}
        return Manifest(models=models, **said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(place, error) from None


def _unreadable(place: object, error: Exception) -> IndexFormatError:
    return IndexFormatError(
        f'{place} cannot be read ({error}); make the index anew with "vecloom index --rebuild"'
    )


def stamp(folder: Path) -> object:
    """What changes whenever ``index.json`` is replaced; None where there is none."""
    try:
        stat = (folder / FILE_NAME).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def widened(manifest: Manifest, registry: Registry, asked: Asked) -> Manifest:
    """The manifest with further models, whose vectors all points lack (see `vecloom.recipe.changed`)."""
    wanted = changed(manifest, registry, asked)
    further = wanted.names[len(manifest.names) :]
    return replace(wanted, incomplete=manifest.incomplete + further) if further else wanted
