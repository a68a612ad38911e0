"""The edge of the program: ``python -m vecloom``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 not done, 2 usage, 130 Ctrl-C."""
    try:
        # Imported here, so that Ctrl-C is answered alike while the program still loads.
        from vecloom.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("vecloom: stopped\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
