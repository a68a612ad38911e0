"""The whole way, from a folder to answers, against the pipelines that people build today.

    python -m bench.e2e [--small] [--only NAME]... [--write]

Every step of every pipeline is a process of its own on one core, one after another. CPU-seconds are user and
system time, with imports, model loading and child processes; weights are on the disk before. With --small: a
tree of 1 MB, for trying it out. The full run takes about half an hour and writes its table into
docs/benchmarks.md; its raw figures go to .bench/e2e.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import FOLDER
from bench.children import Child, ChildError, Used, python, run
from bench.pipelines import MEASURE, PIPELINES, Pipeline
from bench.report import Table, machine, write_section
from bench.tree import Tree, make_tree, questions

#: Bytes of the tree that is timed, of the one for --small, and of the one on which runs are repeated.
FULL, SMALL, REPEATED = 10_000_000, 1_000_000, 200_000

#: Cold searches and unchanged runs, of which the median counts.
REPEATS = 3

#: Questions asked of a warm process.
QUESTIONS = 100

#: Seconds between two looks at whether a running index can be searched.
_POLL = 0.02

_ENVIRON = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}

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
    _, first = run(command, _ENVIRON)
    _, second = run(command, _ENVIRON)
    doubled = _doubled(list(_stored(pipeline, home)))
    max(tree.folder.rglob("*.py"), key=lambda path: path.stat().st_size).unlink()
    run(command, _ENVIRON)
    stale = sum(not (tree.folder / path).exists() for path, _, _ in _stored(pipeline, home))
    return Behaviour(second.cpu / first.cpu, doubled, stale)


def _stored(pipeline: Pipeline, home: Path) -> Iterator[tuple[str, int, str]]:
    said, _ = run(pipeline.stored(home), _ENVIRON)
    yield from map(json.loads, said.splitlines())


def _doubled(stored: Sequence[tuple[str, int, str]]) -> int:
    return len(stored) - len({(path, start) for path, start, _ in stored})


def timing(pipeline: Pipeline, tree: Tree, home: Path, asked: Sequence[str], repeat: bool) -> Timing:
    """Index a tree once and search it; ``repeat``: measure an unchanged run even where all is done again."""
    rate = float(run(python("bench.floor"), {})[0])
    question = asked[0]
    first, used = _first_answer(pipeline, tree, home, question)
    again = None
    if repeat or pipeline.again:
        times = REPEATS if pipeline.again else 1
        again = _median_cpu(pipeline.index(tree.folder, home, question), times)
    cold = _median_cpu(pipeline.search(home, question), REPEATS)
    said, _ = run(pipeline.warm(home, _written(home, asked)), _ENVIRON)
    percentiles = statistics.quantiles(map(float, said.split()), n=20, method="inclusive")
    stored = home.with_suffix(".jsonl")
    stored.write_text(run(pipeline.stored(home), _ENVIRON)[0], "utf-8")
    counted, _ = run(python("bench.cut", stored, pipeline.limit or 0), {})
    passages, tokens, cut = map(int, counted.split())
    warm = (percentiles[9], percentiles[18])
    return Timing(first, used.cpu, again, cold, warm, used.peak, passages, tokens, cut, rate)


def _median_cpu(command: Sequence[str], times: int) -> float:
    return statistics.median(run(command, _ENVIRON)[1].cpu for _ in range(times))


def _written(home: Path, asked: Sequence[str]) -> Path:
    path = home.with_suffix(".questions")
    path.write_text("\n".join(asked), "utf-8")
    return path


def _first_answer(pipeline: Pipeline, tree: Tree, home: Path, question: str) -> tuple[float, Used]:
    """CPU-seconds that the first answer takes, and what indexing used in all.

    A peer answers in the same process, once it has indexed. vecloom answers from another one as soon as the
    whole tree can be searched by its words: what its index run has used by then, and what the search uses.
    """
    child = Child(pipeline.index(tree.folder, home, question), _ENVIRON)
    if not pipeline.is_vecloom:
        _, used = child.finish()
        return used.cpu, used
    while not _searchable(home) and child.running():
        time.sleep(_POLL)
    ready = child.cpu()
    found, search = run(pipeline.search(home, question), _ENVIRON)
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
    return bool(said["created_with"]) and "bm25" not in said["incomplete"]


def table(timings: Mapping[str, Timing], behaviours: Mapping[str, Behaviour]) -> Table:
    """The figures, one pipeline a row, times beside their share of the measure's."""
    heads = (
        "pipeline", "first answer, CPU-s", "to the end, CPU-s", "share", "again, unchanged", "cold search, CPU-s",
        "warm p50 / p95, ms", "peak RSS, GB", "passages", "tokens cut", "stale", "doubled",
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
        "again: one figure is CPU-seconds; a percentage is the share of a first run's CPU-seconds, on a small tree",
        "stale, doubled: passages of a deleted file after the next run, and stored twice after a second run",
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


def measure(chosen: Sequence[Pipeline], size: int, repeat: bool) -> tuple[Tree, Table, list[str]]:
    """Run the pipelines one after another; the tree, the table, and what failed."""
    run(python("bench.peers.models"), {})
    tree = make_tree(FOLDER / "tree", size)
    asked = questions(tree, QUESTIONS)
    timings: dict[str, Timing] = {}
    behaviours: dict[str, Behaviour] = {}
    failed = []
    for pipeline in chosen:
        print(f"{pipeline.title} ...", file=sys.stderr, flush=True)
        homes = FOLDER / "e2e" / pipeline.name
        shutil.rmtree(homes, ignore_errors=True)
        homes.mkdir(parents=True)
        try:
            repeated = make_tree(FOLDER / "tree-repeated", REPEATED)
            did = behaviour(pipeline, repeated, homes / "repeated", asked[0])
            timings[pipeline.name] = timing(pipeline, tree, homes / "timed", asked, repeat)
            behaviours[pipeline.name] = did
            print(f"  {timings[pipeline.name]}\n  {did}", file=sys.stderr, flush=True)
        except ChildError as error:
            failed.append(f"{pipeline.title}: {error}")
    raw = {name: {**asdict(timings[name]), **asdict(behaviours[name])} for name in timings}
    (FOLDER / "e2e.json").write_text(json.dumps({"tree": tree.digest, "pipelines": raw}, indent=1), "utf-8")
    return tree, table(timings, behaviours), failed


def main() -> int:
    """Run the bench; 1 where a pipeline failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.e2e",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", action="store_true", help="a tree of 1 MB; docs/benchmarks.md stays")
    names = [pipeline.name for pipeline in PIPELINES]
    parser.add_argument("--only", action="append", choices=names, help="only this pipeline; repeatable")
    chosen = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("bench.e2e reads CPU times from /proc, and so needs Linux")
    pipelines = [pipeline for pipeline in PIPELINES if not chosen.only or pipeline.name in chosen.only]
    tree, found, failed = measure(pipelines, SMALL if chosen.small else FULL, repeat=chosen.small)
    about = (
        f"{tree.size / 1e6:.1f} MB: {tree.code_files} .py and {tree.docs_files} .md and .rst files "
        f"(digest {tree.digest}).\n\n{machine(_VERSIONS)}"
    )
    text = f"{found.markdown()}\n\n{about}"
    print(text)
    if not (chosen.small or chosen.only or failed):
        write_section("e2e", text)
    for line in failed:
        print(line, file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
