"""What the engine writes to stderr when it panics: several lines, past Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Set by the command line, whose errors are one line. A program that uses the package keeps its stderr.
hide_stderr = False


@contextmanager
def hidden_stderr() -> Iterator[None]:
    """Discard what is written to the file descriptor of stderr, where `hide_stderr` says so."""
    if not hide_stderr:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
