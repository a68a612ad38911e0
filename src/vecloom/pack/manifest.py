"""``manifest.json`` of a pack: what it was made with, and its shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from vecloom.durable import written
from vecloom.errors import PackError
from vecloom.pack.files import MANIFEST, MOST_MANIFEST, Files, check_shard_name
from vecloom.recipe import MOST_TOKENS, Recipe
from vecloom.types import Schema, VectorField

#: Version of the layout. A reader refuses what is newer.
FORMAT = 1

#: Dimensions of a vector at the most.
_MOST_DIM = 1 << 16


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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackError(f"{place}: {MANIFEST} cannot be read ({error!s:.200}); get the pack again") from error
    _check(files, manifest)
    return manifest


def _check(files: Files, manifest: PackManifest) -> None:
    names = {field.name for field in manifest.fields}
    if names != set(manifest.names):
        raise PackError(f"{files.place}: its vectors are not those of its models; get the pack again")
    wrong = next(_find_wrong(manifest), None)
    if wrong is not None:
        raise PackError(f"{files.place}: {wrong} in its {MANIFEST}; get the pack again")
    for shard in (*manifest.shards, *manifest.former):
        check_shard_name(files.place, shard.name)
        size = files.size(shard.name)
        if size != shard.bytes:
            have = "is missing" if size is None else f"has {size} bytes, not {shard.bytes}"
            raise PackError(f"{files.place}: {shard.name} {have}; get the pack again")


def _find_wrong(manifest: PackManifest) -> Iterator[str]:
    """Values of the right type that no pack has."""
    names = [field.name for field in manifest.fields]
    if len(set(names)) != len(names) or len(manifest.names) != len(names):
        yield "a vector comes twice"
    for field in manifest.fields:
        dim = 1 if field.dim is None else field.dim
        if (field.kind == "sparse") != (field.dim is None) or not 1 <= dim <= _MOST_DIM:
            yield f"the vector {field.name!r:.80} has {field.dim} dimensions"
    if not 1 <= manifest.chunk_tokens <= MOST_TOKENS:
        yield f"chunk_tokens is {manifest.chunk_tokens!r:.40}"
    if not 0 <= manifest.overlap <= manifest.chunk_tokens // 2:
        yield f"overlap is {manifest.overlap!r:.40}"
    if not set(manifest.counted_by) <= set(names):
        yield "counted_by names a model that is not there"
    for name, number in (("shard_points", manifest.shard_points), ("shard_bytes", manifest.shard_bytes)):
        if not 1 <= number < 1 << 40:
            yield f"{name} is {number!r:.40}"
    for source in manifest.sources:
        if not source or "\0" in source:
            yield f"{source!r:.80} is no name of a source"
    if len(set(manifest.sources)) != len(manifest.sources):
        yield "a source comes twice"
    listed = [shard.name for shard in (*manifest.shards, *manifest.former)]
    if len(set(listed)) != len(listed):
        yield "a shard comes twice"
    for shard in (*manifest.shards, *manifest.former):
        if not 0 <= shard.points < 1 << 40 or not 0 <= shard.bytes < 1 << 60:
            yield f"{shard.name!r:.80} has {shard.points!r:.40} points and {shard.bytes!r:.40} bytes"
        if not set(shard.vectors) <= set(names) or len(set(shard.vectors)) != len(shard.vectors):
            yield f"{shard.name!r:.80} has a vector that is not there"
