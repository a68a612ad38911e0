"""What all processes that vecloom starts share: they die with their parent, keep limits, and end somehow."""

from __future__ import annotations

import os
import signal
import sys

#: Linux: the signal that a process gets when its parent dies (prctl(2)).
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """End when the process ``parent`` does, where the system can see to it (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def limit_memory(size: int) -> None:
    """Give this process ``size`` bytes of address space at the most, where the system holds to it (Linux)."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def how_it_ended(code: int | None) -> str:
    """An exit code in words: a negative one is that of a signal."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
