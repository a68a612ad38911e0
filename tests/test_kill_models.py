"""kill -9 between and inside models: the seed's six vectors end as in a clean run, bit for bit."""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from commands import quick_folder
from test_index_models import SEED
from test_kill import WINDOWS, Rounds, Way
from vecloom.config import Config
from vecloom.errors import IndexFormatError
from vecloom.pipeline.manifest import load_manifest

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

#: Models of which no two fit together, so that a run goes through them one after the other.
APART = {**WINDOWS, "encoders.load._WEIGHTS_SHARE": 0.0}
ARGUMENTS = ("--models", ",".join(SEED), "--device", "cpu")
WAYS = {"apart": Way(7, ARGUMENTS, APART, from_nothing=True), "together": Way(5, ARGUMENTS, WINDOWS)}


#: Vectors that are complete when a kill's time begins to count: of BM25 alone, then of each model in turn.
COMPLETE = (1, 2, 3, 4)


def complete(folder: Path) -> int:
    """How many vectors every point has; 0 before there is an index that has been read whole."""
    try:
        manifest = load_manifest(folder)
    except IndexFormatError:
        return 0
    return 0 if manifest.unfinished or not manifest.created_with else len(SEED) - len(manifest.incomplete)


@pytest.mark.timeout(900)
def test_kills_between_and_inside_models_lose_nothing(
    tmp_path: Path, seed_environ: dict[str, str], seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seed_environ.items():
        monkeypatch.setenv(name, value)
    seen: Counter[int] = Counter()
    with quick_folder(tmp_path) as place:
        rounds = Rounds(place, seed_environ, seed_config, random.Random(7), SEED)
        for name, way in WAYS.items():
            rounds.change(way)
            code, took = rounds.start(way, None)
            assert code == 0, name
            for part in range(way.kills):
                least = COMPLETE[part % len(COMPLETE)] if name == "apart" else 0
                drawn = rounds.rng.random()
                moment = drawn / 4 if least else took * (part + drawn) / way.kills
                rounds.change(way)
                while (code := kill(rounds, way, moment, least)) != -signal.SIGKILL:
                    assert code == 0 and rounds.check(way) == [], f"{name!r} ended with {code}"
                    moment *= 0.8
                    rounds.change(way)
                seen[complete(rounds.folder)] += 1
                assert rounds.check(way) == [], f"{name!r} killed after {moment:.3f} s"
    sys.stdout.write(f"killed with so many vectors complete: {dict(seen)}\n")
    assert len(seen) >= 3, seen


def kill(rounds: Rounds, way: Way, moment: float, least: int) -> int | None:
    """Kill a run some time after so many vectors are complete; its exit code."""
    return rounds.start(way, moment, lambda: complete(rounds.folder) >= least)[0]
