"""Reads PDF and docx files in a process of its own, one after another, for `vecloom.sources.extractor`.

Asked on stdin: a line of JSON, then the file's bytes. Answered on stdout: a line of JSON. Whatever a parser
prints, warns or logs goes nowhere.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vecloom.processes import die_with, limit_memory
from vecloom.sources.extraction import MISSING_EXTRA, NO_MEMORY, Extracted, Limits, UnreadableError, one_line
from vecloom.sources.pdf import read_pdf
from vecloom.sources.word import read_docx

_READERS: Mapping[str, Callable[[bytes, Limits], Extracted]] = {".pdf": read_pdf, ".docx": read_docx}


def main(arguments: Sequence[str]) -> int:
    """Answer until stdin is closed. The only argument is JSON: ``parent``, a process id, and ``limits``."""
    said = json.loads(arguments[0])
    limits = Limits(**said["limits"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends this process
    die_with(said["parent"])
    limit_memory(limits.memory)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent has sent stderr nowhere
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        try:
            data = sys.stdin.buffer.read(asked["size"])
            answer = json.dumps(_answer(asked["suffix"], data, limits)).encode()
        except MemoryError:
            os._exit(NO_MEMORY)  # at once: nothing else is sure to work now
        answers.write(answer + b"\n")
        answers.flush()
    return 0


def _answer(suffix: str, data: bytes, limits: Limits) -> dict[str, Any]:
    """``sections`` and ``lost`` of a document, or ``reason`` and ``detail`` where it gives no text."""
    # The process ends itself, so that no parent has to live for it, and no lock of the interpreter delays it.
    faulthandler.dump_traceback_later(limits.seconds_for(len(data)), exit=True)
    try:
        found = _READERS[suffix](data, limits)
    except UnreadableError as error:
        return {"reason": error.reason, "detail": str(error)}
    except ImportError:
        return {"reason": "missing extra", "detail": MISSING_EXTRA}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a parser of damaged files raises anything)
        return {"reason": "broken document", "detail": one_line(error)}
    finally:
        faulthandler.cancel_dump_traceback_later()
    return {"sections": found.sections, "lost": found.lost}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
