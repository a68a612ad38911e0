"""PDF and docx files to text, by a process beside this one.

Parsers of such files hang, take all memory and crash on files that are made for it. So they run in a process
that has limits, does not outlive this one, and is replaced when it dies. What comes back is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, cast

from vecloom.errors import VecloomError
from vecloom.processes import how_it_ended
from vecloom.sources.extraction import NO_MEMORY, Extracted, Limits, UnreadableError

#: How often a file is tried whose reader dies: that may have been killed for a reason that lies elsewhere.
_ATTEMPTS = 2

_DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class _Reader:
    """A running `vecloom.sources.parsing`."""

    process: subprocess.Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]


class Extractor:
    """Reads documents, one at a time. Its process starts with the first one and reads all of them.

    To be closed, or used in a ``with`` statement.
    """

    def __init__(self, limits: Limits = _DEFAULT) -> None:
        self._limits = limits
        self._reader: _Reader | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process that reads, while there is one."""
        return self._reader.process.pid if self._reader else None

    def extract(self, suffix: str, data: bytes) -> Extracted:
        """The text of ``data``, a file of the format that ``suffix`` (".pdf", ".docx") names.

        Raises:
            UnreadableError: the file gives no text, or takes more than it may.
            VecloomError: no process can be started.
        """
        seconds = self._limits.seconds_for(len(data))
        question = json.dumps({"suffix": suffix, "size": len(data)}).encode() + b"\n"
        code = 0
        for _ in range(_ATTEMPTS):
            started = time.monotonic()
            answer = self._ask(question, data)
            if answer.endswith(b"\n"):
                return _found(json.loads(answer))
            code = self._end()
            if time.monotonic() - started >= seconds:
                raise UnreadableError("too heavy", f"reading it took longer than {seconds:.3g} s")
        if code == NO_MEMORY:
            memory = self._limits.memory >> 20
            raise UnreadableError("too heavy", f"reading it took more than {memory:,} MiB of memory")
        raise UnreadableError("broken document", f"its reader died twice ({how_it_ended(code)})")

    def _ask(self, question: bytes, data: bytes) -> bytes:
        """The reader's answer, one line; cut short or empty where the reader died."""
        reader = self._reader = self._reader or self._start()
        try:
            reader.questions.write(question)
            reader.questions.write(data)
            reader.questions.flush()
            return reader.answers.readline()
        except OSError:  # nobody reads at the other end
            return b""
        except BaseException:  # an answer that nobody waits for must not become that of the next question
            self.close()
            raise

    def _start(self) -> _Reader:
        said = json.dumps({"parent": os.getpid(), "limits": asdict(self._limits)})
        # -P: the working folder may be anybody's tree, and is no place to import from.
        command = [sys.executable, "-P", "-m", "vecloom.sources.parsing", said]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere)
        except OSError as error:
            raise VecloomError(f"no process can be started to read documents ({error}); run again") from error
        return _Reader(process, cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout))

    def _end(self) -> int:
        """End the process if it has not ended, and return its exit code."""
        if self._reader is None:
            return 0
        process, self._reader = self._reader.process, None
        process.kill()
        process.communicate()
        return process.returncode

    def close(self) -> None:
        """End the process. The next document starts another one."""
        self._end()

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _found(answer: dict[str, Any]) -> Extracted:
    if "reason" in answer:
        raise UnreadableError(answer["reason"], answer["detail"])
    return Extracted(tuple((label, text) for label, text in answer["sections"]), tuple(answer["lost"]))
