"""The edge of the program: ``python -m vecloom``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line and exit: 0 done, 1 not done, 2 usage, 130 Ctrl-C."""
    # NumPy's BLAS starts a thread a core that spins for 0.1 s; nothing here multiplies large matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        # Imported here, so that Ctrl-C is answered alike while the program still loads.
        from vecloom.cli import run

        code = run(sys.argv[1:])
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        sys.stderr.write("vecloom: stopped\n")
        code = 130
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once, without the interpreter's own end.

    That answers Ctrl-C with a traceback; and it would close a shard that a search has left open, upon which
    the engine drops all of it from the system's page cache, for the next search to read from the disk again.
    What is written is durable before, and locks are given back by the system.
    """
    if read_only := sys.modules.get("vecloom.stores.read_only"):
        read_only.remove_copies()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read it is gone
        code = code or 1
    os._exit(code)


def _interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind it: an extension that is stopped while it loads says that it cannot load."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


if __name__ == "__main__":
    main()
