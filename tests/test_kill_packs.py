"""kill -9 of a run that makes a pack, and of one that loads it: the next ends with exactly a clean result."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from changing_tree import ChangingTree
from commands import Commands, quick_folder
from small import kill_after, start_small
from stored import Contents, contents, differences
from vecloom import carry
from vecloom.config import Config
from vecloom.errors import IndexFormatError, PackError
from vecloom.index import Index
from vecloom.pack.reading import Pack
from vecloom.pipeline import filling
from vecloom.pipeline.manifest import load_manifest

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

SEED = 20261125
KILLS = 50

#: Shards of a handful of chunks, listed at once.
LIMITS = {
    "filling.WINDOW_TEXTS": 4,
    "loading.OPERATION_POINTS": 2,
    "loading.VISIT_POINTS": 1,
    "pack.writing._SAVE_SECONDS": 0.0,
}


class Killed:
    """Commands that are killed at moments spread over the time that they take."""

    def __init__(
        self,
        place: Path,
        environ: Mapping[str, str],
        rng: random.Random,
        limits: Mapping[str, float] = LIMITS,
    ) -> None:
        self.place = place
        self.rng = rng
        self._environ = Commands(environ, place).environ
        self._limits = limits

    def run(
        self, arguments: Sequence[str | Path], begun: Callable[[], bool], moment: float | None
    ) -> tuple[int | None, float]:
        """Run a command, and kill it so long after it has begun: its exit code, and how long it took."""
        return kill_after(start_small(self._environ, self._limits, arguments), begun, moment)

    def again_and_again(
        self,
        arguments: Sequence[str | Path],
        begun: Callable[[], bool],
        made: Path,
        prepare: Callable[[], object],
        reached: Callable[[], str],
        check: Callable[[], object],
    ) -> Counter[str]:
        """Kill a command that makes ``made`` at random moments, let it end, and check; `KILLS` times in all.

        ``prepare`` comes before each round; half of them begin from nothing. Returns what ``reached`` said.
        """
        prepare()
        assert self.run(arguments, begun, None)[0] == 0  # what forks the others is imported once
        shutil.rmtree(made)
        took = self.run(arguments, begun, None)[1]
        seen: Counter[str] = Counter()
        while seen.total() < KILLS:
            prepare()
            if self.rng.random() < 0.5:
                shutil.rmtree(made, ignore_errors=True)
            for _ in range(self.rng.choice((1, 1, 3))):
                moment = took * self.rng.random()
                while (code := self.run(arguments, begun, moment)[0]) != -signal.SIGKILL:
                    assert code == 0
                    shutil.rmtree(made)
                    moment *= 0.8
                seen[reached()] += 1
            assert self.run(arguments, begun, None)[0] == 0
            check()
        sys.stdout.write(f"seed {SEED}, killed while {dict(seen)}, {took:.2f} s a whole run\n")
        return seen


@pytest.fixture
def killed(tmp_path: Path, tiny_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Killed]:
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    with quick_folder(tmp_path) as place:
        yield Killed(place, tiny_environ, random.Random(SEED))


def files(pack: Path) -> dict[str, bytes]:
    """What a pack consists of; nothing else may lie there but the lock of its writer."""
    found = {path.name: path.read_bytes() for path in pack.iterdir()}
    assert found.pop("writer.lock") == b""
    return found


def reached(pack: Path) -> str:
    """Where a run was killed, from what it left."""
    try:
        manifest = Pack.open(pack).manifest
    except PackError:
        return "beginning"
    if not manifest.read:
        return "reading"
    if not manifest.incomplete:
        return "ended"
    return "encoding" if len(manifest.lacking(manifest.incomplete)) < len(manifest.shards) else "read"


@pytest.mark.timeout(900)
def test_kills_of_an_embed_run_end_in_the_bytes_of_a_clean_one(killed: Killed) -> None:
    rng, place = killed.rng, killed.place
    tree, pack, clean = ChangingTree(place / "tree", rng), place / "pack", place / "clean"
    arguments: list[str | Path] = ["embed", place / "tree", "--out", pack]

    def begun() -> bool:
        return (pack / "writer.json").exists()

    def check() -> None:
        shutil.rmtree(clean, ignore_errors=True)
        assert killed.run(["embed", place / "tree", "--out", clean], clean.exists, None)[0] == 0
        assert files(pack) == files(clean), f"seed {SEED}"

    seen = killed.again_and_again(arguments, begun, pack, tree.change, lambda: reached(pack), check)
    assert {"reading", "encoding"} <= set(seen)


def stored(folder: Path, config: Config) -> Contents:
    with Index.open(folder, config=config) as index:
        assert index.incomplete == () and index.unfinished == ()
        return contents(index)


@pytest.mark.timeout(900)
def test_kills_of_a_load_end_in_what_a_clean_one_stores(
    killed: Killed, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, place = killed.rng, killed.place
    pack, index, clean = (place / name for name in ("pack", "index", "clean"))
    tree = ChangingTree(place / "tree", rng)
    arguments: list[str | Path] = ["load", pack, "--to", index]

    def begun() -> bool:
        return (index / rng.choice(("writer.json", "load.json"))).exists()

    monkeypatch.setattr(filling, "WINDOW_TEXTS", 4)  # many shards, each of which is acknowledged

    def prepare() -> None:
        tree.change()
        carry.embed(pack, place / "tree", config=tiny_config)

    def check() -> None:
        shutil.rmtree(clean, ignore_errors=True)
        carry.load(pack, clean, config=tiny_config)
        assert differences(stored(index, tiny_config), stored(clean, tiny_config)) == [], f"seed {SEED}"

    seen = killed.again_and_again(arguments, begun, index, prepare, lambda: how_far(index), check)
    assert "sending" in seen


def how_far(index: Path) -> str:
    """Where a load was killed."""
    try:
        manifest = load_manifest(index)
    except IndexFormatError:
        return "making the index"
    if not manifest.unfinished:
        return "beginning or ending"
    ledger = index / "load.json"
    done = json.loads(ledger.read_text("utf-8"))["shards"] if ledger.exists() else 0
    return "sending" if done else "beginning to send"
