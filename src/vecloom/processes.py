"""Processes that do not outlive the one that started them."""

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
