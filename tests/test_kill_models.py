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


def reached(folder: Path) -> str:
    """Which models were done when a run was killed."""
    try:
        left = load_manifest(folder).incomplete
    except IndexFormatError:
        return "making the index"
    return f"{6 - len(left)} of 6 vectors complete"


@pytest.mark.timeout(900)
def test_kills_between_and_inside_models_lose_nothing(
    tmp_path: Path, seed_environ: dict[str, str], seed_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seed_environ.items():
        monkeypatch.setenv(name, value)
    seen: Counter[str] = Counter()
    with quick_folder(tmp_path) as place:
        rounds = Rounds(place, seed_environ, seed_config, random.Random(7), SEED)
        for name, way in WAYS.items():
            rounds.change(way)
            code, took = rounds.start(way, None)
            assert code == 0, name
            for part in range(way.kills):
                moment = took * (part + rounds.rng.random()) / way.kills
                rounds.change(way)
                while (code := rounds.start(way, moment)[0]) != -signal.SIGKILL:
                    assert code == 0 and rounds.check(way) == [], f"{name!r} ended with {code}"
                    moment *= 0.8
                    rounds.change(way)
                seen[reached(rounds.folder)] += 1
                assert rounds.check(way) == [], f"{name!r} killed after {moment:.3f} s"
    sys.stdout.write(f"killed with {dict(seen)}\n")
    assert len(seen) >= 3, seen
