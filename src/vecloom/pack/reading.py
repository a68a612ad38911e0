"""A pack read back: verified shard by shard, never trusted, never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vecloom.errors import PackError
from vecloom.pack.files import Files, files_of, sha256_of
from vecloom.pack.manifest import PackManifest, Shard, load_pack_manifest
from vecloom.types import Points

if TYPE_CHECKING:
    from vecloom.pack.columns import Table


class Pack:
    """A pack in a folder or a zip. Opening it reads the manifest alone."""

    def __init__(self, files: Files, manifest: PackManifest) -> None:
        """Use `open`."""
        self.files = files
        self.manifest = manifest

    @classmethod
    def open(cls, place: Path) -> Pack:
        """Open the pack at ``place``.

        Raises:
            PackError: there is none, it is damaged, or a newer version wrote it.
        """
        files = files_of(place)
        return cls(files, load_pack_manifest(files))

    def tables(self, shard: Shard, names: Sequence[str] | None = None) -> Iterator[Table]:
        """The row groups of a shard, with the columns of ``names`` (None: all), once its sha256 is right.

        Raises:
            PackError: the file is not the one that the manifest lists, cannot be read, or has columns or
                values that vecloom does not write.
        """
        from vecloom.pack.columns import check_ids, check_payload, read_tables, schema_of

        fields = {field.name: field for field in self.manifest.fields}
        schema = schema_of([fields[name] for name in shard.vectors], self.manifest.half)
        with self.files.open(shard.name) as file:
            self._verify(shard, file)
            try:
                for table in read_tables(file, names, shard.points, schema):
                    check_payload(table)
                    check_ids(table)
                    yield table
            except PackError as error:
                raise PackError(f"{self.files.place}: {shard.name} {error}; get the pack again") from error

    def points(
        self, shard: Shard, names: Sequence[str] | None = None, most: int | None = None
    ) -> Iterator[Points]:
        """The points of a shard, a row group at a time, with the vectors of ``names`` (None: all it has).

        ``most``: no more than so many of a row group.
        """
        from vecloom.pack.columns import PAYLOAD, points_of

        wanted = shard.vectors if names is None else [name for name in names if name in shard.vectors]
        for table in self.tables(shard, ["id", *PAYLOAD, *wanted]):
            try:
                yield points_of(table if most is None else table.slice(0, most), wanted)
            except PackError as error:
                raise PackError(f"{self.files.place}: {shard.name}: {error}") from error

    def _verify(self, shard: Shard, file: IO[bytes]) -> None:
        found = sha256_of(file)
        if found != shard.sha256:
            raise PackError(
                f"{self.files.place}: {shard.name} is not the file that was written (sha256 {found[:12]}, "
                f"listed {shard.sha256[:12]}); get the pack again"
            )
