"""One process a device: each makes the stage for itself and takes windows as fast as it can.

Each worker is given two windows, so that the next one is there when the first is done; a stage with a method
``prepare`` is given it before that, in a thread beside. A worker that dies is reported, and another one does
its windows again.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, TypeVar

from vecloom.errors import EncodingError, VecloomError
from vecloom.processes import child_environment, die_with, how_it_ended, python_command

T = TypeVar("T")
R = TypeVar("R")

#: Windows that a worker has at a time: one that it does, one that is ready.
_AHEAD = 2

#: Deaths of a device's workers, without a window done between them, after which it is no use to go on there.
_DEATHS = 3

#: Seconds that a worker has to end before it is killed.
_PATIENCE = 2.0


@dataclass(eq=False)
class _Worker(Generic[T]):
    device: str
    process: subprocess.Popen[bytes]
    pipe: Connection
    windows: deque[tuple[Hashable, T]] = field(default_factory=deque)
    deaths: int = 0


class Pool(Generic[T, R]):
    """Runs a stage in a process for each of ``devices``."""

    def __init__(
        self,
        make: Callable[[str], Callable[[T], R]],
        devices: Sequence[str],
        notice: Callable[[str], None],
    ) -> None:
        """``make`` makes the stage for a device; it and all windows and results are pickled."""
        self._make = make
        self._notice = notice
        self._workers = [self._start(device) for device in devices]

    @property
    def free(self) -> int:
        """Places that no window has."""
        return sum(max(0, _AHEAD - len(worker.windows)) for worker in self._workers)

    def submit(self, name: Hashable, window: T) -> None:
        """Give a window to the worker with the fewest."""
        self._give(min(self._workers, key=lambda worker: len(worker.windows)), (name, window))

    def result(self) -> tuple[Hashable, R]:
        """The next window that is done.

        Raises:
            VecloomError: the stage raised it.
            EncodingError: workers die again and again.
        """
        while True:
            ready = wait([worker.pipe for worker in self._workers])
            worker = next(worker for worker in self._workers if worker.pipe in ready)
            try:
                good, name, found = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker)
                continue
            if not good:
                raise found
            worker.deaths = 0
            worker.windows = deque(window for window in worker.windows if window[0] != name)
            return name, found

    def close(self) -> None:
        """End the workers; what they are doing is dropped."""
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(0 if worker.windows else _PATIENCE)
            worker.process.kill()
            worker.process.wait()
        self._workers = []

    def _start(self, device: str, deaths: int = 0) -> _Worker[T]:
        # Not by multiprocessing: its children import from the working folder and run the user's script.
        ours, theirs = Pipe()
        place = theirs.fileno()
        options: dict[str, Any] = {"pass_fds": [place]}
        if sys.platform == "win32":
            os.set_handle_inheritable(place, True)
            options = {"close_fds": False}
        command = python_command("vecloom.runners.pool", str(place), str(os.getpid()))
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=child_environment(), **options)
        except OSError as error:
            raise EncodingError(f"no worker can be started for {device} ({error}); run again") from error
        theirs.close()
        with suppress(OSError):  # it is dead: `result` will find that
            ours.send((self._make, device))
        return _Worker(device, process, ours, deaths=deaths)

    def _give(self, worker: _Worker[T], window: tuple[Hashable, T]) -> None:
        worker.windows.append(window)
        try:
            worker.pipe.send(window)
        except OSError:  # it is dead: `result` will find that, and give its windows to another one
            return

    def _replace(self, dead: _Worker[T]) -> None:
        """Say that a worker died, and let another one take its place and its windows."""
        dead.process.wait()
        dead.pipe.close()
        deaths = dead.deaths + 1
        how = f"the worker on {dead.device} died ({how_it_ended(dead.process.returncode)})"
        self._workers.remove(dead)
        if deaths < _DEATHS:
            self._workers.append(self._start(dead.device, deaths))
        elif not self._workers:
            raise EncodingError(
                f"{how}, as {deaths - 1} did before it; what is stored stays. Take smaller chunks, or "
                "another --device"
            )
        else:
            how = f"{how} {deaths} times, and is not started again"
        self._notice(f"{how}; its {len(dead.windows)} windows are done again")
        for window in dead.windows:
            self._give(min(self._workers, key=lambda worker: len(worker.windows)), window)


def main(arguments: Sequence[str]) -> int:
    """Work for the pool of the process ``arguments[1]``, over the connection ``arguments[0]``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it closes the pipe
    place, parent = map(int, arguments)
    die_with(parent)
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        pipe = PipeConnection(place)
    else:
        pipe = Connection(place)
    try:
        make, device = pipe.recv()
    except (EOFError, OSError):  # the parent has closed it
        return 0
    _work(pipe, make, device)
    return 0


def _work(pipe: Connection, make: Callable[[str], Callable[[T], R]], device: str) -> None:
    """What a worker does: windows from the pipe, results back, until the other end is closed."""
    windows: queue.SimpleQueue[tuple[Hashable, T] | None] = queue.SimpleQueue()
    made: list[Callable[[T], R]] = []
    threading.Thread(target=_read, args=(pipe, made, windows), name="vecloom-ahead", daemon=True).start()
    while (task := windows.get()) is not None:
        name, window = task
        answer: tuple[bool, Hashable, R | VecloomError]  # and never an exception that only this process knows
        try:
            if not made:
                made.append(make(device))
            answer = True, name, made[0](window)
        except VecloomError as error:
            answer = False, name, error
        except Exception as error:  # noqa: BLE001 (the parent raises it: a worker has nobody to tell)
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            answer = (
                False,
                name,
                EncodingError(f"on {device}: {said}; what is stored stays, the next run goes on"),
            )
        try:
            pipe.send(answer)
        except OSError:  # the parent has closed it
            return


def _read(
    pipe: Connection,
    made: list[Callable[[T], R]],
    windows: queue.SimpleQueue[tuple[Hashable, T] | None],
) -> None:
    """Take windows as they come, and have the stage prepare them while it does others."""
    try:
        while True:
            task = pipe.recv()
            prepare = getattr(made[0], "prepare", None) if made else None
            if prepare is not None:
                with suppress(VecloomError):  # the stage will raise it again, and then it is answered
                    prepare(task[1])
            windows.put(task)
    except (EOFError, OSError):  # the parent has closed it
        return
    finally:
        windows.put(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
