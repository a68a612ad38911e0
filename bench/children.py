"""Commands in processes of their own, on one core, with what they used. Linux only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: One thread in every library that would take more, and modules compiled once, as where they are installed.
_ENVIRON = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "",
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
    """A running command, pinned to one core with all its children.

    The core is the last that this process may use: the measuring process itself is left free to run on
    another, so that its own polling costs the measured one nothing.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._command = command
        self._out, self._err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self._started = time.perf_counter()
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env={**os.environ, **_ENVIRON, **environ},
            cwd=ROOT,
            preexec_fn=_pin,
        )

    def running(self) -> bool:
        """Whether the command has not ended yet."""
        state = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"

    def cpu(self) -> float:
        """CPU-seconds so far, those of ended children included."""
        said = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, said[11:15])) / _TICKS

    def finish(self) -> tuple[str, Used]:
        """Wait for the end: what the command wrote to stdout, and what it used.

        Raises:
            ChildError: it did not exit with 0.
        """
        _, status, usage = os.wait4(self._child.pid, 0)
        wall = time.perf_counter() - self._started
        self._child.returncode = os.waitstatus_to_exitcode(status)
        with self._out, self._err:
            said, complaint = (_all_of(file) for file in (self._out, self._err))
        if self._child.returncode:
            last = "\n".join(complaint.splitlines()[-15:])
            raise ChildError(f"{' '.join(self._command)} ended with {self._child.returncode}:\n{last}")
        # ru_maxrss is in KB on Linux.
        return said, Used(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[str, Used]:
    """Run a command to its end; see `Child`."""
    return Child(command, environ).finish()


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def _pin() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _all_of(file: "tempfile._TemporaryFileWrapper[str]") -> str:
    file.seek(0)
    return file.read()
