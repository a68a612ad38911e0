"""kill -9 and Ctrl-C at random moments: the next run ends with exactly the points of a clean one."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from changing_tree import ChangingTree
from commands import Commands, mind_ctrl_c, quick_folder
from small import kill_after, start_small
from stored import contents, differences, fresh
from vecloom.cli import run
from vecloom.config import Config
from vecloom.errors import IndexFormatError
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest
from vecloom.recipe import Asked

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

SEED = 20261122

#: A model of each kind, of which the first two share a pass: what is killed most has most to lose.
FOUR = ("minilm", "bm42", "bm25", "bm25-code")

#: Windows of a handful of chunks: a small tree takes a dozen of them.
WINDOWS = {
    "storing.WINDOW_CHUNKS": 4,
    "storing.OPERATION_POINTS": 2,
    "filling.WINDOW_TEXTS": 4,
    "filling.OPERATION_POINTS": 2,
}
SEALING = {**WINDOWS, "sealing.OPTIMISE_POINTS": 20, "sealing.OPTIMISE_SHARE": 0.0}


@dataclass(frozen=True)
class Way:
    """A command to kill, so many times.

    ``limits`` None: as a user starts it, its imports included. ``from_nothing``: there is no index yet, or
    one with the models of ``first``.
    """

    kills: int
    arguments: tuple[str, ...] = ()
    limits: Mapping[str, float] | None = None
    from_nothing: bool = False
    first: str = ""


WAYS = {
    "as users start it": Way(6),
    "changes": Way(15, (), WINDOWS),
    "from nothing": Way(8, (), WINDOWS, from_nothing=True),
    "optimise": Way(8, (), SEALING),
    "rebuild": Way(7, ("--rebuild",), WINDOWS),
    "further model": Way(
        3, ("--models", "minilm,bm25,bm25-code,bm42"), WINDOWS, from_nothing=True, first="minilm,bm25"
    ),
    "remove": Way(3, ("--remove", "worktree"), WINDOWS),
}


class Rounds:
    """Two trees that change, an index of them, and commands on it that are killed."""

    def __init__(
        self,
        place: Path,
        environ: Mapping[str, str],
        config: Config,
        rng: random.Random,
        models: Sequence[str] = FOUR,
    ) -> None:
        self.rng = rng
        self._models = models
        self.folder = place / "index"
        self._clean = place / "clean"
        self.roots = (place / "tree", place / "worktree")
        self._tree = ChangingTree(place / "tree", rng)
        self._config = config
        self._commands = Commands(environ, place)
        self.environ = self._commands.environ

    def change(self, way: Way) -> None:
        """Change the trees; the second one is a copy of a part of the first."""
        tree, worktree = self.roots
        self._tree.change()
        shutil.rmtree(worktree, ignore_errors=True)
        shutil.copytree(tree / "src", worktree / "src")
        if way.from_nothing:
            shutil.rmtree(self.folder, ignore_errors=True)
        if way.first:
            assert run(["index", str(tree), "--index", str(self.folder), "--models", way.first]) == 0

    def start(
        self, way: Way, moment: float | None, begun: Callable[[], bool] = lambda: True
    ) -> tuple[int | None, float]:
        """Run a command, and kill it after ``moment`` seconds; its exit code and how long it took.

        Where its imports are done already, both count from when it writes and has ``begun`` what is meant.
        """
        arguments = self.arguments(*way.arguments)
        started = time.monotonic()
        if way.limits is None:
            with self._commands.start(*arguments) as child:
                if moment is not None:
                    time.sleep(moment)
                    child.kill()
                child.communicate(timeout=60)
            return child.returncode, time.monotonic() - started
        forked = start_small(self.environ, way.limits, arguments)
        return kill_after(forked, lambda: (self.folder / "writer.json").exists() and begun(), moment)

    def interrupt(self, way: Way, moment: float) -> tuple[int, str]:
        """Press Ctrl-C after ``moment`` seconds; the exit code and what the command said."""
        with self._commands.start(*self.arguments(*way.arguments), preexec_fn=mind_ctrl_c) as child:
            time.sleep(moment)
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
        return child.returncode, said

    def check(self, way: Way) -> list[str]:
        """How the index differs from a clean one after the next run, which the killed one may be again."""
        again = way.arguments if "--models" in way.arguments or self.rng.random() < 0.5 else ()
        assert run(self.arguments(*(() if "--remove" in again else again))) == 0
        wanted = fresh(self._clean, self._config, *self.roots, models=self._models)
        shutil.rmtree(self._clean)
        with Index.open(self.folder, config=self._config) as index:
            assert index.incomplete == ()
            return differences(contents(index), wanted) + self._litter()

    def arguments(self, *more: str) -> list[str]:
        if "--remove" in more:
            return ["index", "--index", str(self.folder), *more]
        models = [] if "--models" in more else ["--models", ",".join(self._models)]
        return ["index", *map(str, self.roots), "--index", str(self.folder), *models, *more]

    def _litter(self) -> list[str]:
        """What a run leaves behind that nobody needs; a rebuild that was killed may go on later."""
        shards = [path.name for path in self.folder.glob("shard-*")]
        kept = {"index", "tree", "worktree"}
        beside = [path.name for path in self.folder.parent.iterdir() if path.name not in kept]
        unnamed = [name for name in shards if name != load_manifest(self.folder).shard]
        return beside + unnamed + [path.name for path in self.folder.glob("*.tmp")]

    def reached(self, way: Way) -> str:
        """Where a run was killed, from what it left."""
        try:
            manifest = load_manifest(self.folder)
        except IndexFormatError:
            return "making the index"
        if not (self.folder / "writer.json").exists():
            return "not writing"
        if "--rebuild" in way.arguments:
            return "rebuilding"
        if len(list(self.folder.glob("shard-*"))) > 1:
            return "optimising"
        if "bm25" in manifest.incomplete:
            return "storing"
        return "filling" if manifest.incomplete else "beginning or ending"


@pytest.fixture
def rounds(
    tmp_path: Path, tiny_environ: dict[str, str], tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rounds]:
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    with quick_folder(tmp_path) as place:
        yield Rounds(place, tiny_environ, tiny_config, random.Random(SEED))


@pytest.mark.timeout(900)
def test_kills_at_random_moments_lose_and_double_nothing(rounds: Rounds) -> None:
    rounds.change(WAYS["changes"])
    rounds.start(WAYS["changes"], None)  # what forks the others is imported once
    took: dict[str, float] = {}
    for name, way in WAYS.items():
        rounds.change(way)
        code, took[name] = rounds.start(way, None)
        assert code == 0, name
    # One moment in each of as many equal parts of the duration as there are kills, in any order.
    plan = [
        (name, (part + rounds.rng.random()) / way.kills)
        for name, way in WAYS.items()
        for part in range(way.kills)
    ]
    rounds.rng.shuffle(plan)
    reached: Counter[str] = Counter()
    for name, share in plan:
        way = WAYS[name]
        moment = share * took[name]
        if rounds.rng.random() < 0.2:  # two in a row
            rounds.change(WAYS["changes"])
            rounds.start(WAYS["changes"], rounds.rng.random() * took["changes"])
        rounds.change(way)
        while (code := rounds.start(way, moment)[0]) != -signal.SIGKILL:  # it had ended: again, and sooner
            assert code == 0 and rounds.check(way) == [], f"{name!r} ended with {code}"
            moment *= 0.8
            rounds.change(way)
        reached[rounds.reached(way)] += 1
        assert rounds.check(way) == [], (
            f"seed {SEED}: {name!r} killed after {moment:.3f} s, kill {reached.total()}"
        )
    seconds = {name: round(value, 2) for name, value in took.items()}
    sys.stdout.write(f"seed {SEED}, {reached.total()} kills while {dict(reached)}; whole runs {seconds} s\n")
    assert reached.total() == 50


def test_what_was_encoded_before_a_kill_is_not_encoded_again(rounds: Rounds, tiny_config: Config) -> None:
    rounds.change(Way(1))
    with Index.prepare(rounds.folder, Asked(FOUR), config=tiny_config) as index:
        child = start_small(rounds.environ, WINDOWS, rounds.arguments())
        while child.is_alive() and not index.status().vectors["qdrant-minilm"]:
            pass
        child.kill()
        child.join(timeout=60)
        kept = index.status().vectors["qdrant-minilm"]
        report = index.add(*rounds.roots)
    assert child.exitcode == -signal.SIGKILL and 0 < kept < report.points
    written = report.encoded["qdrant-minilm"] + report.encoded["minilm-attention"] + report.reused
    assert written == 2 * (report.points - kept)


def test_ctrl_c_at_random_moments_ends_with_130_and_the_next_run_goes_on(rounds: Rounds) -> None:
    way = WAYS["as users start it"]
    rounds.change(way)
    _, took = rounds.start(way, None)
    rng = random.Random(SEED)
    codes: list[int | None] = []
    for part in range(8):
        rounds.change(way)
        # The interpreter itself needs some hundredths of a second until it minds Ctrl-C.
        moment = took * (0.15 + 0.8 * (part + rng.random()) / 8)
        code, said = rounds.interrupt(way, moment)
        codes.append(code)
        # Where it was stopped inside an exec(), Python itself ends with the signal: 130 to a shell.
        assert code in (0, 130, -signal.SIGINT), f"seed {SEED}: Ctrl-C after {moment:.3f} s: {said}"
        assert "Traceback" not in said and ("stopped" in said or "ask it with" in said), said
    assert rounds.check(way) == []
    assert any(codes), codes
