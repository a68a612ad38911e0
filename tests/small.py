"""The command line with lower thresholds, so that a small tree passes through every step of an index run.

Such processes are forked from one that has imported nearly all that a run needs, so that a moment of theirs
is a moment of the run and not of its imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

# Without onnxruntime, whose import starts a thread that a fork would lose.
_IMPORTED = [
    "pyarrow.parquet",
    "pytest",
    "qdrant_edge",
    "tokenizers",
    "tokie",
    "tree_sitter",
    "torch",
    "transformers.models.auto.modeling_auto",
    "vecloom.index",
    "vecloom.pipeline.run",
    "vecloom.chunking",
    "vecloom.carry",
    "vecloom.pipeline.embedding",
    "vecloom.pipeline.loading",
    "vecloom.cli.carrying",
    "vecloom.cli.indexing",
    "vecloom.encoders.torch_pass",
]


def start_small(
    environ: Mapping[str, str], limits: Mapping[str, float], arguments: Sequence[str | Path]
) -> BaseProcess:
    """A running ``vecloom ARGUMENTS`` with ``limits``: constants of `vecloom.pipeline` or of `vecloom`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    child = context.Process(target=_run, args=(dict(environ), dict(limits), [*map(str, arguments)]))
    child.start()
    return child


def kill_after(
    child: BaseProcess, begun: Callable[[], bool], moment: float | None
) -> tuple[int | None, float]:
    """Kill a process so long after it has ``begun`` (None: let it end): its exit code and the seconds."""
    while child.is_alive() and not begun():
        time.sleep(0.001)
    started = time.monotonic()
    if moment is not None:
        time.sleep(moment)
        child.kill()
    child.join(timeout=120)
    return child.exitcode, time.monotonic() - started


def _run(environ: dict[str, str], limits: dict[str, float], arguments: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    for name, value in limits.items():
        module, _, constant = name.rpartition(".")
        owner = import_module(f"vecloom.{module}" if "." in module else f"vecloom.pipeline.{module}")
        if not isinstance(getattr(owner, constant), type(value)):
            raise TypeError(f"{name} is no {type(value).__name__}")
        setattr(owner, constant, value)
    from vecloom.cli import run

    sys.exit(run(arguments))
