"""A reader without a process: tests that are not about that process start none (each costs 0.3 s)."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vecloom.chunking import unpacking
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
        self._settings = said["settings"]
        self._started: dict[str, Any] | None = {}
        try:
            with own_grammars(self._settings):
                self._work = getattr(import_module(module), function)(self._settings)
        except VecloomError as error:
            self._started = {"refused": str(error)}

    def ask(self, question: bytes) -> None:
        self._questions.append(question)

    def answer(self) -> bytes:
        if self._started is not None:
            found, self._started = self._started, None
        else:
            question, _, data = self._questions.popleft().partition(b"\n")
            with own_grammars(self._settings):
                found = dict(read_file(json.loads(question), data, self._work, self._limits))
        return json.dumps(found).encode() + b"\n"

    def end(self, patience: float = 0.0) -> int:
        return 0


@contextmanager
def own_grammars(settings: Mapping[str, Any]) -> Iterator[None]:
    """Unpack grammars where the settings say, as a process of its own would, and forget it afterwards."""
    variable, ours = os.environ.get(unpacking.VARIABLE), unpacking._ours
    if settings.get("cache_dir"):
        unpacking.use_cache(Path(settings["cache_dir"]))
    try:
        yield
    finally:
        unpacking._ours = ours
        os.environ.pop(unpacking.VARIABLE, None)
        if variable is not None:
            os.environ[unpacking.VARIABLE] = variable
