"""Many processes, one index: whoever searches is answered, whatever an index run does meanwhile."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from changing_tree import ChangingTree
from commands import Commands, quick_folder
from small import start_small
from stored import contents, differences, fresh
from vecloom.config import Config
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest

if sys.platform == "win32":
    pytest.skip("forks", allow_module_level=True)

#: Windows of a few chunks, and a graph for any number of points.
LIMITS = {
    "storing.WINDOW_CHUNKS": 4,
    "filling.WINDOW_TEXTS": 4,
    "sealing.OPTIMISE_POINTS": 20,
    "sealing.OPTIMISE_SHARE": 0.0,
}


def asked(hits: str) -> list[tuple[str, int]]:
    """Path and first line of the hits of a ``search --json``."""
    return [(hit["path"], hit["start_line"]) for hit in map(json.loads, hits.splitlines())]


def test_twenty_searches_at_once_all_answer(tmp_path: Path, tiny_environ: dict[str, str]) -> None:
    ChangingTree(tmp_path / "tree", random.Random(1)).change()
    vecloom = Commands(tiny_environ, tmp_path)
    assert vecloom.run("index", "tree", "--index", "index").returncode == 0
    search = ("search", "retry the connection", "--index", "index", "--json", "--limit", "5")
    alone = vecloom.run(*search)
    assert alone.returncode == 0 and len(asked(alone.stdout)) == 5
    started = time.monotonic()
    together = [vecloom.start(*search) for _ in range(20)]
    ended = [(child.communicate(timeout=120), child.returncode) for child in together]
    sys.stdout.write(f"20 searches at once: the last one after {time.monotonic() - started:.2f} s\n")
    for (out, err), code in ended:
        assert code == 0, err
        assert out == alone.stdout


class Asking:
    """Searches one after another beside a running command."""

    def __init__(self, vecloom: Commands, folder: Path) -> None:
        self._vecloom = vecloom
        self._folder = folder
        self.seconds: list[float] = []
        self.seen: set[str] = set()

    def beside(self, child: BaseProcess) -> None:
        """Ask until ``child`` has ended; every search must be answered."""
        while child.is_alive():
            started = time.monotonic()
            done = self._vecloom.run("search", "retry connection", "--index", self._folder, "--json")
            self.seconds.append(time.monotonic() - started)
            assert done.returncode == 0, done.stderr
            assert asked(done.stdout), done.stderr
            self.seen.add(load_manifest(self._folder).shard)
        child.join()
        assert child.exitcode == 0

    def told(self) -> str:
        return (
            f"{len(self.seconds)} searches, the slowest {max(self.seconds):.2f} s; shards {sorted(self.seen)}"
        )


def test_searches_that_are_killed_hold_up_nobody(
    tmp_path: Path, tiny_environ: dict[str, str], tiny_config: Config
) -> None:
    with quick_folder(tmp_path) as place:
        rng = random.Random(3)
        tree = ChangingTree(place / "tree", rng)
        tree.change()
        vecloom = Commands(tiny_environ, place)
        folder = place / "index"
        assert vecloom.run("index", tree.root, "--index", folder).returncode == 0
        search = ("search", "retry connection", "--index", folder, "--json")
        started = time.monotonic()
        assert vecloom.run(*search).returncode == 0
        took = time.monotonic() - started
        for _ in range(6):
            tree.change()
            child = start_small(vecloom.environ, LIMITS, ["index", tree.root, "--index", folder])
            with vecloom.start(*search) as asking:
                time.sleep(rng.uniform(0.5, 1.0) * took)  # what comes before is imports
                asking.kill()
            child.join()
            assert child.exitcode == 0
            assert asked(vecloom.run(*search).stdout)
        with Index.open(folder, config=tiny_config) as index:
            assert differences(contents(index), fresh(place / "clean", tiny_config, tree.root)) == []


@pytest.mark.parametrize("more", [(), ("--rebuild",)])
def test_a_search_beside_a_whole_index_run_is_always_answered(
    more: Sequence[str], tmp_path: Path, tiny_environ: dict[str, str], tiny_config: Config
) -> None:
    with quick_folder(tmp_path) as place:
        roots = [place / f"tree{number}" for number in range(2)]
        trees = [ChangingTree(root, random.Random(root.name)) for root in roots]
        for tree in trees:
            tree.change()
        vecloom = Commands(tiny_environ, place)
        folder = place / "index"
        assert vecloom.run("index", *roots, "--index", folder).returncode == 0
        before = load_manifest(folder).shard
        for tree in trees:
            tree.change()
        asking = Asking(vecloom, folder)
        asking.beside(start_small(vecloom.environ, LIMITS, ["index", *roots, "--index", folder, *more]))
        sys.stdout.write(f"beside index {' '.join(more)}: {asking.told()}\n")
        assert load_manifest(folder).shard != before
        with Index.open(folder, config=tiny_config) as index:
            assert differences(contents(index), fresh(place / "clean", tiny_config, *roots)) == []
