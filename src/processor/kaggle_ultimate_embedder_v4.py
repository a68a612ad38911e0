"""V4's module under its own name: all of it is `vecloom.compat.v4`.

A ``processor`` package of your own with an ``__init__.py`` hides this one: import from there instead.
"""

from __future__ import annotations

import sys

from vecloom.compat import v4
from vecloom.compat.v4 import *  # noqa: F403
from vecloom.errors import VecloomError

__all__ = v4.__all__

if __name__ == "__main__":
    try:
        v4.main(sys.argv[1:])
    except VecloomError as error:
        sys.exit(str(error))
