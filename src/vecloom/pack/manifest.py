"""``manifest.json`` of a pack: what it was made with, and its shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from vecloom.durable import written
from vecloom.errors import PackError
from vecloom.pack.files import MANIFEST, MOST_MANIFEST, Files, check_shard_name
from vecloom.recipe import Recipe
from vecloom.types import Schema, VectorField

#: Version of the layout. A reader refuses what is newer.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of the pack: its points, bytes and sha256, and the named vectors that all its points have."""

    name: str
    points: int
    bytes: int
    sha256: str
    vectors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackManifest(Recipe):
    """What a pack was made with, and how far it is.

    ``fields``: its vectors as a store takes them. ``rows``: where each model comes from, for those who read
    the pack elsewhere. ``half``: dense values are float16. ``sources``: names of the packed trees.
    ``shard_points``, ``shard_bytes``: what a shard has at the most, but one document whatever its size.
    ``read``: whether the trees were read to the end. ``former``: shards of an earlier state of the trees,
    whose vectors serve texts that are still the same until the pack is finished.
    """

    noun: ClassVar[str] = "pack"
    anew: ClassVar[str] = "write another one: --out OTHER"

    fields: tuple[VectorField, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    half: bool = False
    sources: tuple[str, ...] = ()
    shard_points: int = 1024
    shard_bytes: int = 2 << 20
    read: bool = False
    shards: tuple[Shard, ...] = ()
    former: tuple[Shard, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, **more: Any) -> PackManifest:
        """The manifest of an empty pack that is made by ``recipe``."""
        return cls(**{part.name: getattr(recipe, part.name) for part in fields(Recipe)}, **more)

    @property
    def points(self) -> int:
        """How many points there are."""
        return sum(shard.points for shard in self.shards)

    @property
    def stored(self) -> Schema:
        """The schema of a store that holds the pack."""
        return Schema(self.fields)

    def lacking(self, names: Sequence[str]) -> list[int]:
        """Numbers of the shards that lack any of these vectors."""
        return [i for i, shard in enumerate(self.shards) if not set(names) <= set(shard.vectors)]

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Vectors that some points lack."""
        return tuple(name for name in self.names if self.lacking([name]))

    def with_shard(self, number: int, shard: Shard) -> PackManifest:
        """The manifest with a shard replaced, or added at the end."""
        shards = [*self.shards[:number], shard, *self.shards[number + 1 :]]
        return replace(self, shards=tuple(shards))

    def save(self, folder: Path) -> None:
        """Replace ``manifest.json`` in one step, durably."""
        with written(folder / MANIFEST) as file:
            file.write(json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n")


def load_pack_manifest(files: Files) -> PackManifest:
    """Read ``manifest.json``, and see that every shard is there in the size that it says.

    Raises:
        PackError: there is none, it cannot be read, a newer version wrote it, or a shard is missing.
    """
    place = files.place
    size = files.size(MANIFEST)
    if size is None:
        raise PackError(f"{place} holds no pack: it has no {MANIFEST}")
    if size > MOST_MANIFEST:
        raise PackError(f"{place}: a {MANIFEST} of {size >> 20} MiB is none; get the pack again")
    with files.open(MANIFEST) as file:
        data = file.read()
    try:
        said = json.loads(data)
        found = said.pop("format")
        if found > FORMAT:
            from vecloom.installation import describe_upgrade

            raise PackError(
                f"{place} was written by a newer vecloom (format {found}, this one reads {FORMAT}); "
                f"{describe_upgrade()}"
            )
        manifest = TypeAdapter(PackManifest).validate_python(said)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PackError(f"{place}: {where} in its {MANIFEST} is wrong; get the pack again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackError(f"{place}: {MANIFEST} cannot be read ({error}); get the pack again") from error
    _check(files, manifest)
    return manifest


def _check(files: Files, manifest: PackManifest) -> None:
    names = {field.name for field in manifest.fields}
    if names != set(manifest.names):
        raise PackError(f"{files.place}: its vectors are not those of its models; get the pack again")
    for shard in (*manifest.shards, *manifest.former):
        check_shard_name(files.place, shard.name)
        size = files.size(shard.name)
        if size != shard.bytes:
            have = "is missing" if size is None else f"has {size} bytes, not {shard.bytes}"
            raise PackError(f"{files.place}: {shard.name} {have}; get the pack again")
