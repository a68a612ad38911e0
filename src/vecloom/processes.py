"""Child processes: what they may import, what memory they get, and how they end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

#: Linux: the signal that a process gets when its parent dies (prctl(2)).
_PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """The environment of every Python process that vecloom starts.

    A child imports what this process imports, in the same order, but nothing from the working folder or the
    running script's folder: both may lie in anybody's tree.
    """
    own = os.path.realpath(Path(__file__).parents[1])
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    unsafe = {os.path.realpath(os.curdir)} | ({os.path.realpath(Path(script).parent)} if script else set())
    folders = [
        entry
        for entry in sys.path
        if Path(entry).is_absolute()
        and os.pathsep not in entry
        and ((real := os.path.realpath(entry)) == own or real not in unsafe)
    ]
    if own not in map(os.path.realpath, folders):
        folders.append(own)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"}


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs ``module`` in a child; start it with `child_environment`."""
    return [sys.executable, "-P", "-m", module, *arguments]


def die_with(parent: int) -> None:
    """End when the process ``parent`` does, where the system can see to it (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def limit_memory(size: int) -> None:
    """Give this process ``size`` bytes of address space more than it has now, and no core file.

    On Linux; elsewhere there is no limit.
    """
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        wanted = pages * resource.getpagesize() + size
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def how_it_ended(code: int | None) -> str:
    """An exit code in words: a negative one is that of a signal."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
