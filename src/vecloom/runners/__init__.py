"""Who runs a stage over many windows: this process, or one process a device.

A *stage* is made in the process that runs it from a specification that can be pickled, and maps one window to
one result. Windows do not depend on each other, and come back in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Runner(Protocol[T_contra, R_co]):
    """Runs a stage."""

    @property
    def free(self) -> int:
        """How many windows can be handed in now: more would only wait."""
        ...

    def submit(self, name: Hashable, window: T_contra) -> None:
        """Hand in a window."""
        ...

    def result(self) -> tuple[Hashable, R_co]:
        """Wait for the next window that is done: its name and its result. An error of its stage is raised."""
        ...

    def close(self) -> None:
        """Stop, whatever is still being done."""
        ...


class Serial(Generic[T, R]):
    """Runs the stage in this process, one window at a time, when its result is asked for."""

    def __init__(self, stage: Callable[[T], R]) -> None:
        self._stage = stage
        self._waiting: deque[tuple[Hashable, T]] = deque()

    @property
    def free(self) -> int:
        """One, unless one waits."""
        return 0 if self._waiting else 1

    def submit(self, name: Hashable, window: T) -> None:
        """Hand in a window."""
        self._waiting.append((name, window))

    def result(self) -> tuple[Hashable, R]:
        """Run the oldest window."""
        name, window = self._waiting.popleft()
        return name, self._stage(window)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


def in_turn(runner: Runner[T, R], windows: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Windows with their results, as they are done; no more are made than the runner has place for."""
    numbered = enumerate(windows)
    running: dict[Hashable, T] = {}
    while True:
        for number, window in islice(numbered, runner.free):
            running[number] = window
            runner.submit(number, window)
        if not running:
            return
        name, result = runner.result()
        yield running.pop(name), result
