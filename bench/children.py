"""Commands in processes of their own, with what they used. Linux only.

A command runs on the cores of the thread that starts it; unless told otherwise, with one thread in each of
its libraries.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: One thread, no hub, and modules compiled once, as where they are installed.
ENVIRON = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONWARNINGS": "ignore",
}

_TICKS = os.sysconf("SC_CLK_TCK")


class ChildError(Exception):
    """A command that did not end well; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a command used, its children included: CPU-seconds (user and system), seconds, bytes at most."""

    cpu: float
    wall: float
    peak: int


class Child:
    """A running command; ``environ`` goes on top of this process's own."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] = ENVIRON) -> None:
        self._command = command
        with ExitStack() as files:
            self._out = files.enter_context(tempfile.TemporaryFile("w+"))
            self._err = files.enter_context(tempfile.TemporaryFile("w+"))
            self._started = time.perf_counter()
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._err,
                env={**os.environ, **environ},
                cwd=ROOT,
            )
            self._files = files.pop_all()

    def stop(self) -> None:
        """Interrupt it, as Ctrl-C does."""
        self._child.send_signal(signal.SIGINT)

    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._stat()[0] != "Z"

    def cpu(self) -> float:
        """CPU-seconds so far, those of ended children included."""
        return sum(map(int, self._stat()[11:15])) / _TICKS

    def _stat(self) -> list[str]:
        """The fields of ``/proc/PID/stat`` from the third on."""
        return Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()

    def finish(self) -> tuple[str, Used]:
        """Wait for the end: what the command wrote to stdout, and what it used.

        Raises:
            ChildError: it did not exit with 0.
        """
        _, status, usage = os.wait4(self._child.pid, 0)
        wall = time.perf_counter() - self._started
        self._child.returncode = os.waitstatus_to_exitcode(status)
        with self._files:
            for file in (self._out, self._err):
                file.seek(0)
            said, complaint = self._out.read(), self._err.read()
        if self._child.returncode:
            last = "\n".join(complaint.splitlines()[-15:])
            raise ChildError(f"{' '.join(self._command)} ended with {self._child.returncode}:\n{last}")
        # ru_maxrss is in KB on Linux.
        return said, Used(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def run(command: Sequence[str], environ: Mapping[str, str] = ENVIRON) -> tuple[str, Used]:
    """Run a command to its end; see `Child.finish`."""
    return Child(command, environ).finish()


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]
