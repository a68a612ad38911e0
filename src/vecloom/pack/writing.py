"""A pack as it is written: a shard at a time, each whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vecloom.durable import written
from vecloom.pack.columns import TableWriter, schema_of
from vecloom.pack.files import keep_former, remove_others, sha256_of, shard_name
from vecloom.pack.manifest import PackManifest, Shard

#: Seconds between two writings of the manifest: what a kill can cost. It lists every shard, and where those
#: are many its writing takes so small a share of the time.
_SAVE_SECONDS, _SAVE_SHARE = 1.0, 0.05


class PackWriter:
    """Writes shards into a folder and lists them. The caller is the only writer of the folder."""

    def __init__(self, folder: Path, manifest: PackManifest) -> None:
        """Go on with what ``manifest`` lists; what else lies there is a killed run's, and removed."""
        self.folder = folder
        self.manifest = manifest
        self._fields = {field.name: field for field in manifest.fields}
        self._saved = time.monotonic()
        self._pause = _SAVE_SECONDS
        remove_others(folder, self._listed, parts=True)

    @contextmanager
    def shard(self, number: int, names: Sequence[str]) -> Iterator[TableWriter]:
        """Write the shard of this number, with these vectors, in the place of the one that is listed."""
        name = shard_name(number, len(names))
        path = self.folder / name
        fields = [self._fields[vector] for vector in names]
        with written(path) as file:
            writer = TableWriter(file, schema_of(fields, self.manifest.half))
            yield writer
            writer.close()
        with path.open("rb") as found:
            shard = Shard(name, writer.rows, path.stat().st_size, sha256_of(found), tuple(names))
        self.manifest = self.manifest.with_shard(number, shard)
        if time.monotonic() - self._saved > self._pause:
            self.save()

    def cut(self, number: int) -> None:
        """Drop the shards from this number on: other documents come there. Their vectors stay at hand."""
        manifest = self.manifest
        dropped = manifest.shards[number:]
        if manifest.read or dropped:
            known = {shard.sha256: shard for shard in manifest.former}
            for shard in dropped:
                kept = keep_former(self.folder, shard.name, shard.sha256)
                known[shard.sha256] = replace(shard, name=kept)
            self.save(read=False, shards=manifest.shards[:number], former=tuple(known.values()))

    def save(self, **changes: Any) -> None:
        """List what is written, with changes of the manifest, and remove what is listed no more."""
        self.manifest = replace(self.manifest, **changes)
        started = time.monotonic()
        self.manifest.save(self.folder)
        remove_others(self.folder, self._listed)
        self._saved = time.monotonic()
        self._pause = max(_SAVE_SECONDS, (self._saved - started) / _SAVE_SHARE)

    @property
    def _listed(self) -> frozenset[str]:
        return frozenset(shard.name for shard in (*self.manifest.shards, *self.manifest.former))
