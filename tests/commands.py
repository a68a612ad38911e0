"""The real command line, in processes of its own, and what a command in this one left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

#: An index in memory takes its sparse files whole.
_MEMORY_BYTES = 4 << 30


class Done(NamedTuple):
    """A command that has ended; ``err`` without the lines that tell of the tests' own rows."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The objects that it wrote, one a line."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def by_name(self) -> dict[str, dict[str, Any]]:
        """Name -> the object of that name."""
        return {row["name"]: row for row in self.rows}


#: Runs a command of these arguments in this process.
Vecloom: TypeAlias = Callable[..., Done]


class Commands:
    """Starts ``vecloom`` in the folder ``cwd``; ``environ`` goes on top of the process's own."""

    def __init__(self, environ: Mapping[str, str], cwd: Path) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("VECLOOM_")}
        self.environ = {**own, **environ}
        self.cwd = cwd

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A running command; ``options`` are those of `subprocess.Popen`."""
        command: list[str | Path] = [sys.executable, "-m", "vecloom", *arguments]
        settings = {
            "env": self.environ,
            "cwd": self.cwd,
            "text": True,
            "errors": "surrogateescape",
            **options,
        }
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command that has ended, by itself."""
        with self.start(*arguments, **options) as child:
            try:
                out, err = child.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def mind_ctrl_c() -> None:
    """End at SIGINT: a shell's background job ignores it, and so would what the job starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def quick_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, where there is room for one: what a process leaves does not depend on the disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < _MEMORY_BYTES:
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="vecloom-") as folder:
        yield Path(folder)
