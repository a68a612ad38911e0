"""Shard folders of an index: made, replaced, removed, so that a reader always finds a whole one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from vecloom.errors import StoreError
from vecloom.pipeline.manifest import Manifest, load_manifest
from vecloom.pipeline.states import FILE_NAME as STATES_FILE
from vecloom.stores.access import ShardAccess
from vecloom.types import Schema


def create_shard(path: Path, schema: Schema) -> None:
    """Make an empty shard."""
    from vecloom.stores.edge import EdgeStore

    EdgeStore.create(path, schema).close()


def remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Remove shards that a killed run was building: no reader opens what the manifest does not name."""
    for path in folder.glob("shard-*"):
        if path.name != manifest.shard:
            shutil.rmtree(path)


def next_shard(folder: Path) -> Path:
    """A shard folder that is not there yet."""
    numbers = [int(path.name.rpartition("-")[2]) for path in folder.glob("shard-*")]
    return folder / f"shard-{max(numbers, default=0) + 1}"


def adopt(folder: Path, side: Path) -> None:
    """Let the finished index in ``side`` take the place of the one in ``folder``.

    Killed before the manifest is replaced, the old index stays; killed after it, only leftovers do.
    """
    manifest = load_manifest(side)
    shard = next_shard(folder)
    with ShardAccess(folder, _unopened).locked("rebuild"):
        (side / manifest.shard).rename(shard)
        replace(manifest, shard=shard.name).save(folder)
        (side / STATES_FILE).replace(folder / STATES_FILE)
    shutil.rmtree(side)
    remove_leftovers(folder, load_manifest(folder))


def _unopened() -> NoReturn:
    raise StoreError("a shard that is being replaced is not to be opened")
