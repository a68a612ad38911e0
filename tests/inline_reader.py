"""A reader without a process: tests that are not about that process start none (each costs 0.3 s)."""

from __future__ import annotations

import json
import os
from collections import deque
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from vecloom.errors import VecloomError
from vecloom.pipeline.reader_process import read_file
from vecloom.sources import Limits


class InlineProcess:
    """Answers like `vecloom.pipeline.reading._Process`, in this process and without limits."""

    def __init__(self, argument: str) -> None:
        said = json.loads(argument)
        module, _, function = said["work"].partition(":")
        self.child = SimpleNamespace(pid=os.getpid())
        self._limits = Limits(**said["limits"])
        self._questions: deque[bytes] = deque()
        self._started: dict[str, Any] | None = {}
        try:
            self._work = getattr(import_module(module), function)(said["settings"])
        except VecloomError as error:
            self._started = {"refused": str(error)}

    def ask(self, question: bytes) -> None:
        self._questions.append(question)

    def answer(self) -> bytes:
        if self._started is not None:
            found, self._started = self._started, None
        else:
            question, _, data = self._questions.popleft().partition(b"\n")
            found = dict(read_file(json.loads(question), data, self._work, self._limits))
        return json.dumps(found).encode() + b"\n"

    def end(self, patience: float = 0.0) -> int:
        return 0
