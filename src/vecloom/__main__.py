"""The edge of the program: ``python -m vecloom``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 not done, 2 usage, 130 Ctrl-C."""
    # NumPy's BLAS starts a thread a core that spins for 0.1 s; nothing here multiplies large matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        # Imported here, so that Ctrl-C is answered alike while the program still loads.
        from vecloom.cli import run

        code = run(sys.argv[1:])
        # All is said. What is left is the interpreter's own end, which answers Ctrl-C with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except (KeyboardInterrupt, ImportError) as error:
        if not _interrupted(error):
            raise
        sys.stderr.write("vecloom: stopped\n")
        code = 130
    sys.exit(code)


def _interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind it: an extension that is stopped while it loads says that it cannot load."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


if __name__ == "__main__":
    main()
