"""Shard folders of an index: made, replaced, removed, so that a reader always finds a whole one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from vecloom.errors import StoreError, UsageError
from vecloom.pipeline.manifest import PART_NAME, Manifest, load_manifest
from vecloom.pipeline.states import FILE_NAME as STATES_FILE
from vecloom.pipeline.states import remove_states
from vecloom.pipeline.writer import FILE_NAMES as WRITER_FILES
from vecloom.pipeline.writer import writing
from vecloom.stores import Access
from vecloom.stores.access import ShardAccess
from vecloom.types import Filter, Record, Schema

#: Points read in one visit to the shard: a fraction of a second.
VISIT_POINTS = 5000


def create_index(folder: Path, manifest: Manifest, schema: Schema) -> None:
    """Make an index folder with an empty shard.

    ``index.json`` comes last: a folder without it is no index yet, and what a killed run left in it is begun
    anew.

    Raises:
        UsageError: the folder holds something else already, or another process made the index meanwhile.
        StoreBusyError: another process is making it.
        StoreError: the folder cannot be made or written.
    """
    from vecloom.stores.edge import EdgeStore, engine_version

    require_vacant(folder, manifest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(folder.stat().st_mode & 0o700)  # nobody else's, but no more the owner's than it was
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error.strerror}; name another folder") from None
    with writing(folder, "index"):
        require_vacant(folder, manifest)
        shard = folder / manifest.shard
        shutil.rmtree(shard, ignore_errors=True)
        try:
            EdgeStore.create(shard, schema).close()
            replace(manifest, engine=engine_version()).save(folder)
        except BaseException:
            shutil.rmtree(shard, ignore_errors=True)
            raise


def require_vacant(folder: Path, manifest: Manifest) -> None:
    """Refuse a folder that holds more than what the killed making of an index left there.

    Raises:
        UsageError: it does.
    """
    if folder.is_dir():
        there = {path.name for path in folder.iterdir()}
        if not there or (there & WRITER_FILES and there <= {*WRITER_FILES, PART_NAME, manifest.shard}):
            return
    elif not folder.exists():
        return
    raise UsageError(f"{folder} is not empty; name another folder, or open the index that is there")


def records(access: Access, where: Filter | None, fields: Sequence[str]) -> Iterator[Record]:
    """Points in the order of their ids, read in several visits to the shard, so that others get their turn.

    The caller is the only writer.
    """
    after: str | None = None
    while True:
        with access.open("index") as store:
            page = list(store.scroll(where, fields, after=after, limit=VISIT_POINTS))
        yield from page
        if len(page) < VISIT_POINTS:
            return
        after = page[-1].id


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
        remove_states(folder)
        (side / STATES_FILE).replace(folder / STATES_FILE)
    shutil.rmtree(side)
    remove_leftovers(folder, load_manifest(folder))


def _unopened() -> NoReturn:
    raise StoreError("a shard that is being replaced is not to be opened")
