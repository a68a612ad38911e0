"""Stages in this process and in others: every window is done once, whoever dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from vecloom.errors import EncodingError, MissingExtraError, WeightsError
from vecloom.runners import Runner, Serial
from vecloom.runners.pool import Pool

if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)


R = TypeVar("R")


def doubling(device: str) -> Callable[[int], tuple[int, str, int]]:
    """A stage that tells where it ran."""
    return lambda number: (2 * number, device, os.getpid())


def dying(marks: Path, device: str) -> Callable[[int], int]:
    """A stage whose process is killed by window 3, the first time, and by window 13 every time."""

    def stage(number: int) -> int:
        mark = marks / str(number)
        if number == 13 or (number == 3 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number

    return stage


def refusing(device: str) -> Callable[[int], int]:
    """A stage that raises errors of ours."""

    def stage(number: int) -> int:
        if number == 1:
            raise MissingExtraError("this model", "torch")
        raise EncodingError(f"window {number} on {device}")

    return stage


def unmakeable(device: str) -> Callable[[int], int]:
    """A stage that cannot be made."""
    raise WeightsError(f"no weights for {device}")


def unforeseen(device: str) -> Callable[[int], float]:
    """A stage with a mistake."""
    return lambda number: number / 0


def dying_on(bad: str, device: str) -> Callable[[int], int]:
    """A stage that is killed by every window on one device, and takes its time on others."""

    def stage(number: int) -> int:
        if device == bad:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        return 2 * number

    return stage


def stubborn(device: str) -> Callable[[float], float]:
    """A stage that takes as many seconds as the window says."""

    def stage(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    return stage


def run_all(runner: Runner[int, R], windows: Sequence[int]) -> dict[object, R]:
    """What an index run does with a runner."""
    waiting, running = list(windows), 0
    found: dict[object, R] = {}
    while waiting or running:
        while waiting and runner.free:
            number = waiting.pop(0)
            runner.submit(number, number)
            running += 1
        name, result = runner.result()
        running -= 1
        assert name not in found
        found[name] = result
    return found


def unheard(_line: str) -> None:
    """Take a line and forget it."""


def test_a_serial_runner_runs_here_one_at_a_time() -> None:
    runner = Serial(doubling("here"))
    found = run_all(runner, range(5))
    assert {name: result[0] for name, result in found.items()} == {n: 2 * n for n in range(5)}
    assert {result[2] for result in found.values()} == {os.getpid()}
    assert runner.free == 1


def test_a_pool_runs_a_process_a_device() -> None:
    with closing(Pool(doubling, ["one", "two"], unheard)) as pool:
        assert pool.free == 4
        found = run_all(pool, range(12))
    assert {name: result[0] for name, result in found.items()} == {n: 2 * n for n in range(12)}
    assert {result[1] for result in found.values()} == {"one", "two"}
    assert len({result[2] for result in found.values()}) == 2
    assert os.getpid() not in {result[2] for result in found.values()}


def test_a_worker_that_dies_is_reported_and_its_windows_are_done_again(tmp_path: Path) -> None:
    said: list[str] = []
    with closing(Pool(partial(dying, tmp_path), ["cpu", "cpu"], said.append)) as pool:
        assert run_all(pool, range(8)) == {n: 2 * n for n in range(8)}
    assert len(said) == 1
    assert "the worker on cpu died (signal SIGKILL)" in said[0] and "done again" in said[0]


def test_workers_that_die_again_and_again_end_the_run(tmp_path: Path) -> None:
    with closing(Pool(partial(dying, tmp_path), ["cpu"], unheard)) as pool:
        pool.submit(13, 13)
        with pytest.raises(EncodingError, match=r"died \(signal SIGKILL\), as 2 did before it"):
            pool.result()


def test_errors_of_a_stage_come_back_whole() -> None:
    with closing(Pool(refusing, ["gpu"], unheard)) as pool:
        pool.submit(1, 1)
        with pytest.raises(MissingExtraError, match=r"pip install .*torch>="):
            pool.result()
        pool.submit(2, 2)
        with pytest.raises(EncodingError, match="window 2 on gpu"):
            pool.result()
    with closing(Pool(unmakeable, ["gpu"], unheard)) as pool:
        pool.submit(1, 1)
        with pytest.raises(WeightsError, match="no weights for gpu"):
            pool.result()


def test_an_error_that_nobody_foresaw_comes_back_with_its_cause() -> None:
    with closing(Pool(unforeseen, ["gpu"], unheard)) as pool:
        pool.submit(1, 1)
        with pytest.raises(
            EncodingError, match="on gpu: ZeroDivisionError: division by zero; what is stored"
        ):
            pool.result()


def test_a_device_whose_workers_all_die_is_left_out() -> None:
    said: list[str] = []
    with closing(Pool(partial(dying_on, "bad"), ["good", "bad"], said.append)) as pool:
        assert run_all(pool, range(20)) == {n: 2 * n for n in range(20)}
    assert len(said) == 3
    assert "the worker on bad died (signal SIGKILL) 3 times, and is not started again" in said[-1]


def test_closing_waits_for_nobody() -> None:
    pool: Pool[float, float] = Pool(stubborn, ["one", "two"], unheard)
    for number in range(2):
        pool.submit(number, 0.0)
    for _ in range(2):
        pool.result()
    pool.submit("long", 60.0)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 10
