"""Sealing a shard: segments are merged, graphs are built, and nobody waits for it.

The engine holds the interpreter's lock for the whole of it, and a killed one leaves litter. So it runs in a
process of its own, with low priority, on a copy, which takes the place of the shard in the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from vecloom.errors import StoreError, VecloomError
from vecloom.processes import child_environment, die_with, python_command
from vecloom.stores.access import ShardAccess
from vecloom.stores.copying import FolderCopy, make_durable
from vecloom.stores.room import allocated, require_room
from vecloom.types import Schema, VectorField

#: What a copy and its sealed segments take at the most, in sizes of the shard.
_SIZES = 3

_PRIORITY = 10


def optimise(access: ShardAccess, shard: Path, target: Path, switch: Callable[[], None]) -> None:
    """Build a sealed copy of ``shard`` in ``target`` and let it take the place of ``shard``.

    The caller sees to it that nobody writes meanwhile; searches run all along. ``switch`` is called with the
    lock held and no store open: it makes ``target`` the current shard in one atomic step. Then ``shard`` is
    removed. Killed at any time, one of the two is current and whole, and the other is a leftover for the
    caller's next run to remove.

    Raises:
        StoreError: ``target`` exists, or the engine failed; ``shard`` is still the current one.
        StoreFullError: no room for the copy.
        StoreBusyError: the shard could not be had in time.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; remove what a former run left")
    with access.open("optimise") as store:
        schema, points = store.schema, store.count()
        store.finalize()
    require_room(shard.parent, _SIZES * allocated(shard))
    try:
        copy = FolderCopy(shard, target)
        copy.bring_up()
        with access.locked("optimise"):
            copy.bring_up()
        _seal_apart(target, schema, points)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    with access.locked("switch"):
        switch()
    shutil.rmtree(shard, ignore_errors=True)


def _seal_apart(path: Path, schema: Schema, points: int) -> None:
    """Seal the shard at ``path`` in a process that does not outlive this one."""
    said = json.dumps({"path": str(path), "parent": os.getpid(), "schema": asdict(schema)})
    command = python_command("vecloom.stores.optimise", said)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=child_environment()) as child:
        try:
            out, err = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        why = err.strip().splitlines()[-1:] or [f"it ended with {child.returncode}"]
        raise StoreError(f"optimising {path.name} failed: {why[0]}; the index works as before, run again")
    if int(out) != points:
        raise StoreError(f"optimising {path.name} gave {int(out)} points of {points}; run again")


def main(arguments: Sequence[str]) -> int:
    """Seal the shard that the only argument names, and print how many points it has."""
    from vecloom.stores.edge import EdgeStore

    said = json.loads(arguments[0])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once: the engine lets no Python handler run
    die_with(said["parent"])
    if hasattr(os, "nice"):
        os.nice(_PRIORITY)
    path = Path(said["path"])
    vectors = tuple(VectorField(**field) for field in said["schema"]["vectors"])
    try:
        store = EdgeStore.open(path, Schema(vectors, said["schema"]["profile"]), tune=True)
        store.seal()
        count = store.count()
        store.close()
        make_durable(path)
    except VecloomError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{count}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
