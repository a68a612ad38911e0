"""The whole way, from a folder to answers, against the pipelines that people build today.

    python -m bench.e2e [--small | --size MB] [--only NAME]... [--lanes N]

Every step of every pipeline is a process of its own on one core, one after another. CPU-seconds are user and
system time, with imports, model loading and child processes; weights are on the disk before. The raw figures
go to .bench/e2e.json, and the table of a whole run into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import FOLDER
from bench.children import Child, ChildError, Used, python, run
from bench.pipelines import MEASURE, PIPELINES, Pipeline
from bench.report import Table, machine, write_section
from bench.tree import Tree, make_tree, questions

#: Megabytes of the tree that is timed, and of the one for --small.
FULL, SMALL = 10.0, 1.0

#: Bytes of the tree on which runs are repeated.
REPEATED = 100_000

#: Cold searches and unchanged runs, of which the median counts.
REPEATS = 3

#: Questions asked of a warm process.
QUESTIONS = 100

#: Seconds between two looks at whether a running index can be searched.
_POLL = 0.02

#: The vectors of words that an index may have; one of them is stored first.
_WORDS = frozenset({"bm25", "bm25-code"})

_VERSIONS = (
    "vecloom", "qdrant-edge-py", "onnxruntime", "numpy", "fastembed", "sentence-transformers",
    "transformers", "torch", "bm25s", "txtai", "semble",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What repeated runs over a small tree do.

    ``again``: CPU-seconds of an unchanged second run as a share of the first's. ``doubled``: passages stored
    more than once after it. ``stale``: passages left of a deleted file after a third run.
    """

    again: float
    doubled: int
    stale: int


@dataclass(frozen=True, slots=True)
class Timing:
    """What a pipeline took on the timed tree: CPU-seconds, milliseconds, bytes, counts.

    ``again`` is None where a second run does all of the first's work; ``rate``: GFLOP/s of the core before.
    """

    first: float
    end: float
    again: float | None
    cold: float
    warm: tuple[float, float]
    peak: int
    passages: int
    tokens: int
    cut: int
    rate: float


def behaviour(pipeline: Pipeline, tree: Tree, home: Path, question: str) -> Behaviour:
    """Index a tree twice, then once more without one of its files."""
    command = pipeline.index(tree.folder, home, question)
    _, first = run(command)
    _, second = run(command)
    doubled = _doubled(list(_stored(pipeline, home)))
    max(tree.folder.rglob("*.py"), key=lambda path: path.stat().st_size).unlink()
    run(command)
    stale = sum(not (tree.folder / path).exists() for path, _, _ in _stored(pipeline, home))
    return Behaviour(second.cpu / first.cpu, doubled, stale)


def _stored(pipeline: Pipeline, home: Path) -> Iterator[tuple[str, int, str]]:
    said, _ = run(pipeline.stored(home))
    yield from map(json.loads, said.splitlines())


def _doubled(stored: Sequence[tuple[str, int, str]]) -> int:
    return len(stored) - len(set(map(tuple, stored)))


def timing(pipeline: Pipeline, tree: Tree, home: Path, asked: Sequence[str]) -> Timing:
    """Index a tree once, again where that is worth measuring, and search it."""
    rate = float(run(python("bench.floor"))[0])
    question = asked[0]
    first, used = _first_answer(pipeline, tree, home, question)
    again = _median_cpu(pipeline.index(tree.folder, home, question)) if pipeline.again else None
    cold = _median_cpu(pipeline.search(home, question))
    questions_file, stored = home.with_suffix(".questions"), home.with_suffix(".jsonl")
    questions_file.write_text("\n".join(asked), "utf-8")
    said, _ = run(pipeline.warm(home, questions_file))
    percentiles = statistics.quantiles(map(float, said.split()), n=20, method="inclusive")
    stored.write_text(run(pipeline.stored(home))[0], "utf-8")
    counted, _ = run(python("bench.cut", stored, pipeline.limit or 0))
    passages, tokens, cut = map(int, counted.split())
    warm = (percentiles[9], percentiles[18])
    return Timing(first, used.cpu, again, cold, warm, used.peak, passages, tokens, cut, rate)


def _median_cpu(command: Sequence[str]) -> float:
    return statistics.median(run(command)[1].cpu for _ in range(REPEATS))


def _first_answer(pipeline: Pipeline, tree: Tree, home: Path, question: str) -> tuple[float, Used]:
    """CPU-seconds that the first answer takes, and what indexing used in all.

    A peer answers in the same process, once it has indexed. vecloom answers from another one as soon as the
    whole tree can be searched by its words: what its index run has used by then, and what the search uses.
    """
    child = Child(pipeline.index(tree.folder, home, question))
    if not pipeline.is_vecloom:
        _, used = child.finish()
        return used.cpu, used
    while not _searchable(home):
        if not child.running() and not _searchable(home):
            raise ChildError(f"{pipeline.title} ended before its tree could be searched: {child.finish()[0]}")
        time.sleep(_POLL)
    ready = child.cpu()
    found, search = run(pipeline.search(home, question))
    _, used = child.finish()
    if not found.strip():
        raise ChildError(f"vecloom search {question!r} found nothing")
    return ready + search.cpu, used


def _searchable(home: Path) -> bool:
    """Whether an index run has stored the whole tree with its BM25 vectors, by its own manifest."""
    try:
        said = json.loads((home / "index.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    return bool(said["created_with"]) and not _WORDS & set(said["incomplete"])


def table(timings: Mapping[str, Timing], behaviours: Mapping[str, Behaviour]) -> Table:
    """The figures, one pipeline a row, times beside their share of the measure's."""
    heads = (
        "pipeline", "first answer, CPU-s", "to the end, CPU-s", "share", "again, unchanged",
        "cold search, CPU-s", "warm p50 / p95, ms", "peak RSS, GB", "passages", "tokens cut", "stale",
        "doubled",
    )  # fmt: skip
    whole = timings[MEASURE].end if MEASURE in timings else None
    rows = [
        _row(pipeline, timings[pipeline.name], behaviours[pipeline.name], whole)
        for pipeline in PIPELINES
        if pipeline.name in timings
    ]
    rates = [timing.rate for timing in timings.values()]
    notes = [
        f"share: of {next(p.title for p in PIPELINES if p.name == MEASURE)}, to the end",
        "again: CPU-seconds; or, where all is done again, its share of a first run's, on a tree of 0.1 MB",
        "stale: passages of a deleted file after the next run; doubled: stored twice after a second run",
        f"the core's fp32 matrix product between the runs: {min(rates):.0f} to {max(rates):.0f} GFLOP/s",
    ]
    return Table(heads, rows, notes)


def _row(pipeline: Pipeline, took: Timing, did: Behaviour, whole: float | None) -> Sequence[str]:
    cut = f"{took.cut:,} ({took.cut / took.tokens:.0%})" if pipeline.limit else "no limit"
    return (
        pipeline.title,
        f"{took.first:.1f}",
        f"{took.end:.1f}",
        "-" if whole is None else f"{took.end / whole:.0%}",
        f"all again ({did.again:.0%})" if took.again is None else f"{took.again:.2f}",
        f"{took.cold:.2f}",
        f"{took.warm[0]:.1f} / {took.warm[1]:.1f}",
        f"{took.peak / 1e9:.2f}",
        f"{took.passages:,}",
        cut,
        f"{did.stale:,}",
        f"{did.doubled:,}",
    )


@dataclass(frozen=True, slots=True)
class Bench:
    """The tree that is timed, what is asked of it, and the cores that pipelines run on, one on each."""

    tree: Tree
    asked: Sequence[str]
    cores: Sequence[int]

    def run(self, pipelines: Sequence[Pipeline]) -> Iterator[tuple[Pipeline, Timing, Behaviour]]:
        """Measure pipelines, in the order of their ends; the first failure stops what is not begun."""
        free = queue.SimpleQueue[int]()
        for core in self.cores:
            free.put(core)
        with ThreadPoolExecutor(len(self.cores)) as pool:
            running = [pool.submit(self._on_free_core, free, pipeline) for pipeline in pipelines]
            try:
                for done in as_completed(running):
                    yield done.result()
            finally:
                for one in running:
                    one.cancel()

    def _on_free_core(
        self, free: queue.SimpleQueue[int], pipeline: Pipeline
    ) -> tuple[Pipeline, Timing, Behaviour]:
        core = free.get()
        # Linux pins the calling thread, and what it starts runs where it does.
        os.sched_setaffinity(0, {core})
        try:
            return pipeline, *self._measure(pipeline)
        finally:
            free.put(core)

    def _measure(self, pipeline: Pipeline) -> tuple[Timing, Behaviour]:
        folder = FOLDER / "e2e" / pipeline.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        small = make_tree(folder / "tree", REPEATED)
        did = behaviour(pipeline, small, folder / "repeated", self.asked[0])
        return timing(pipeline, self.tree, folder / "timed", self.asked), did


def main() -> None:
    """Run the bench."""
    chosen = _arguments()
    if sys.platform != "linux":
        sys.exit("bench.e2e reads CPU times from /proc, and so needs Linux")
    cores = sorted(os.sched_getaffinity(0), reverse=True)[: chosen.lanes]
    subprocess.run(python("bench.peers.models"), check=True)
    tree = make_tree(FOLDER / "tree", round(chosen.size * 1e6))
    bench = Bench(tree, questions(tree.folder, QUESTIONS), cores)
    timings: dict[str, Timing] = {}
    behaviours: dict[str, Behaviour] = {}
    pipelines = [pipeline for pipeline in PIPELINES if not chosen.only or pipeline.name in chosen.only]
    for pipeline, took, did in bench.run(pipelines):
        print(f"{pipeline.title}\n  {took}\n  {did}", file=sys.stderr, flush=True)
        timings[pipeline.name], behaviours[pipeline.name] = took, did
        _keep(tree, timings, behaviours)
    text = f"{table(timings, behaviours).markdown()}\n\n{_about(tree, len(cores))}"
    print(text)
    if chosen.size >= FULL and not chosen.only:
        write_section("e2e", text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.e2e",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--size", type=float, default=FULL, metavar="MB", help=f"of the tree ({FULL:.0f})")
    size.add_argument(
        "--small", dest="size", action="store_const", const=SMALL, help=f"a tree of {SMALL:.0f} MB"
    )
    names = [pipeline.name for pipeline in PIPELINES]
    parser.add_argument("--only", action="append", choices=names, help="only this pipeline; repeatable")
    parser.add_argument(
        "--lanes", type=int, default=1, metavar="N", help="pipelines side by side, one on a core (1)"
    )
    return parser.parse_args()


def _keep(tree: Tree, timings: Mapping[str, Timing], behaviours: Mapping[str, Behaviour]) -> None:
    """Write the raw figures, after every pipeline, so that a run that ends early leaves what it has."""
    raw = {name: {**asdict(timings[name]), **asdict(behaviours[name])} for name in timings}
    said = {"tree": tree.digest, "size": tree.size, "pipelines": raw}
    (FOLDER / "e2e.json").write_text(json.dumps(said, indent=1), "utf-8")


def _about(tree: Tree, lanes: int) -> str:
    beside = "one after another" if lanes == 1 else f"{lanes} side by side"
    return (
        f"{tree.size / 1e6:.1f} MB: {tree.code_files} .py and {tree.docs_files} .md and .rst files "
        f"(digest {tree.digest}); pipelines on one core each, {beside}.\n\n{machine(_VERSIONS)}"
    )


if __name__ == "__main__":
    main()
