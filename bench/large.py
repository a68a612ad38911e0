"""A large real tree, indexed whole, and a search every second beside an index run.

    python -m bench.large [whole] [beside] [--size MB] [--beside MB]

The tree is the standard library of the running Python, without its tests, and all files of the packages that
vecloom needs. On two cores it takes about an hour and a half.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import FOLDER
from bench.children import Child, python, run
from bench.report import Table, machine, write_section
from bench.tree import questions

#: Megabytes of text in the tree beside whose index run somebody searches: some 50,000 chunks.
BESIDE = 31.0

#: Questions asked of a warm process, cold searches, and searches at once.
QUESTIONS, COLD, AT_ONCE = 300, 5, 20

_VERSIONS = ("vecloom", "qdrant-edge-py", "onnxruntime", "tokenizers", "numpy")
_TEXT = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".c", ".json")
_NAME = re.compile(r"[\w.-]+")
_LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})


def make_large_tree(folder: Path, size: float) -> int:
    """Copy files into ``folder``, anew, until there are ``size`` bytes of text; returns how many files."""
    shutil.rmtree(folder, ignore_errors=True)
    copied, total = 0, 0
    for target, path in _files():
        if total >= size:
            break
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / target)
        copied, total = copied + 1, total + (path.stat().st_size if path.suffix in _TEXT else 0)
    return copied


def _files() -> Iterator[tuple[str, Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not _LEFT_OUT & set(relative.parts):
            yield f"lib/{relative.as_posix()}", path
    for name in sorted(needed("vecloom") - {"vecloom"}):
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if path.is_file() and not {"..", "__pycache__"} & set(file.parts):
                yield f"packages/{file.as_posix()}", path


def needed(package: str) -> set[str]:
    """A package and what it needs, all the way down, extras left out."""
    found: set[str] = set()
    pending = [package]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        for said in metadata.requires(name) or ():
            wanted = _NAME.match(said)
            if wanted and ";" not in said:
                pending.append(wanted[0].lower().replace("_", "-"))
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A search in a process of its own: when it began, how long it took, whether it found anything."""

    begun: float
    seconds: float
    answered: bool


class Searching:
    """Starts searches, each in a thread of its own, and keeps what they took."""

    def __init__(self, home: Path, asked: Sequence[str]) -> None:
        self._home = home
        self._asked = asked
        self._threads: list[threading.Thread] = []
        self._found: list[Asked] = []

    def start(self) -> None:
        """Start one more."""
        question = self._asked[len(self._threads) % len(self._asked)]
        thread = threading.Thread(target=self._search, args=(question,))
        self._threads.append(thread)
        thread.start()

    def _search(self, question: str) -> None:
        begun = time.perf_counter()
        command = python("vecloom", "search", question, "--index", self._home, "--json")
        done = subprocess.run(command, capture_output=True, text=True)
        took = time.perf_counter() - begun
        self._found.append(Asked(begun, took, done.returncode == 0 and bool(done.stdout.strip())))

    def finish(self) -> list[Asked]:
        """Wait for all."""
        for thread in self._threads:
            thread.join()
        return self._found


def indexed(tree: Path, home: Path) -> tuple[Mapping[str, Any], float, int]:
    """Index a tree: the run's report, seconds by the clock, and bytes of memory at most."""
    said, used = run(python("bench.large", "--index-only", tree, home), environ={})
    return json.loads(said), used.wall, used.peak


def index_only(tree: Path, home: Path) -> None:
    """What `indexed` runs in a process of its own: like the command, but the report goes to stdout."""
    from vecloom import Index
    from vecloom.recipe import Asked

    with Index.prepare(home, Asked()) as index:
        report = index.add(tree)
    cut = sum(one.texts for one in report.cut.values())
    said = {
        name: getattr(report, name)
        for name in ("files", "chunks", "points", "new", "bytes", "tokens", "seconds", "sparse_seconds")
    }
    skips = Counter(skip.reason for skip in report.skips)
    print(
        json.dumps(
            {
                **said,
                "cut": cut,
                "skips": dict(skips),
                "fallbacks": {reason: len(paths) for reason, paths in report.fallbacks.items()},
            }
        )
    )


def whole(tree: Path, home: Path, asked: Sequence[str]) -> Table:
    """The tree indexed twice, and then searched."""
    shutil.rmtree(home, ignore_errors=True)
    first, seconds, peak = indexed(tree, home)
    again, again_seconds, _ = indexed(tree, home)
    cold = statistics.median(_cold(home, question) for question in asked[:COLD])
    last = max(one.seconds for one in at_once(home, asked))
    skips = ", ".join(f"{count:,} {reason}" for reason, count in sorted(first["skips"].items()))
    rows = [
        ("files indexed", f"{first['files']:,}"),
        ("skipped", skips or "none"),
        ("chunked by lines, for want of a parser", f"{sum(first['fallbacks'].values()):,}"),
        ("chunks", f"{first['points']:,}, {first['bytes'] / 1e6:.0f} MB"),
        ("chunks cut by a model's limit", f"{first['cut']:,}"),
        ("the whole", f"{seconds:,.0f} s, {first['points'] / seconds:.1f} chunks/s"),
        ("tokens through the model", f"{first['tokens'] / seconds:,.0f}/s"),
        ("searchable by words after", _share(first["sparse_seconds"], seconds)),
        ("peak RSS", f"{peak / 1e9:.2f} GB"),
        ("again, unchanged", f"{_share(again_seconds, seconds)}, {again['new']:,} new"),
        ("search, warm, query encoded", _warm(home, asked)),
        ("search, cold", f"{cold:.2f} s, the median of {COLD}"),
        (
            f"{AT_ONCE} searches at once",
            f"all answered, the last after {last:.1f} s",
        ),
    ]
    return Table(("a large tree", ""), rows)


def _share(part: float, seconds: float) -> str:
    return f"{part:.1f} s ({part / seconds:.2%} of the whole)"


def _warm(home: Path, asked: Sequence[str]) -> str:
    questions_file = home.with_suffix(".questions")
    questions_file.write_text("\n".join(asked), "utf-8")
    said, _ = run(python("bench.peers", "vecloom", "warm", home, questions_file), environ={})
    steps = statistics.quantiles(map(float, said.split()), n=20, method="inclusive")
    return f"p50 {steps[9]:.1f} ms, p95 {steps[18]:.1f} ms ({len(asked)})"


def _cold(home: Path, question: str) -> float:
    return run(python("vecloom", "search", question, "--index", home), environ={})[1].wall


def at_once(home: Path, asked: Sequence[str]) -> list[Asked]:
    """Searches started together.

    Raises:
        SystemExit: one was not answered.
    """
    searching = Searching(home, asked)
    for _ in range(AT_ONCE):
        searching.start()
    found = searching.finish()
    if lost := sum(not one.answered for one in found):
        sys.exit(f"{lost} of {AT_ONCE} searches at once were not answered")
    return found


def beside(tree: Path, home: Path, asked: Sequence[str], every: float = 1.0) -> Table:
    """A whole index run with a search every second, whether the one before is answered or not."""
    shutil.rmtree(home, ignore_errors=True)
    child = Child(python("vecloom", "index", tree, "--index", home), environ={})
    searching = Searching(home, asked)
    begun = time.perf_counter()
    steps: list[tuple[float, str]] = []
    try:
        _wait_for_words(home, asked[0])
        while child.running():
            due = time.perf_counter() + every
            steps.append((time.perf_counter(), _step(home)))
            searching.start()
            time.sleep(max(0.0, due - time.perf_counter()))
    except BaseException:
        child.stop()
        raise
    seconds = time.perf_counter() - begun
    child.finish()
    found = searching.finish()
    rows = [_beside_row("whole run", found)]
    for step in ("read", "encode", "optimise"):
        chosen = [one for one in found if _step_at(steps, one.begun) == step]
        rows += [_beside_row(step, chosen)] if chosen else []
    notes = (
        f"index run: {_points(home):,} chunks, {seconds:,.0f} s; a search every {every:.0f} s",
        "seconds by the clock, from the start of a search's process to its end",
        f"afterwards, in one process, the query's encoding included: {_warm(home, asked)}",
    )
    return Table(("step", "searches", "answered", "p50, s", "p95, s", "slowest, s", "over 2 s"), rows, notes)


def _points(home: Path) -> int:
    said, _ = run(python("vecloom", "status", "--index", home, "--json"))
    return int(json.loads(said)["points"])


def _wait_for_words(home: Path, question: str) -> None:
    """Until the first window is stored and a search finds something."""
    while not (home / "index.json").exists():
        time.sleep(0.05)
    while not run(python("vecloom", "search", question, "--index", home, "--json"))[0].strip():
        time.sleep(0.05)


def _step(home: Path) -> str:
    """The step that the writer is at, by its own note; "" where there is none."""
    try:
        progress = json.loads((home / "writer.json").read_text("utf-8"))["progress"]
    except (OSError, ValueError):
        return ""
    return str(progress).partition(" ")[0]


def _step_at(steps: Sequence[tuple[float, str]], at: float) -> str:
    return next((step for when, step in reversed(steps) if when <= at), "")


def _beside_row(step: str, found: Sequence[Asked]) -> Sequence[str]:
    seconds = sorted(one.seconds for one in found)
    middle, late = (seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
    return (
        step,
        f"{len(found):,}",
        f"{sum(one.answered for one in found):,}",
        f"{middle:.2f}",
        f"{late:.2f}",
        f"{seconds[-1]:.2f}",
        f"{sum(took > 2 for took in seconds):,}",
    )


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.large",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="whole, beside (both)")
    parser.add_argument("--size", type=float, default=float("inf"), metavar="MB", help="of the tree (all)")
    parser.add_argument("--beside", type=float, default=BESIDE, metavar="MB", help=f"({BESIDE:.0f})")
    parser.add_argument("--index-only", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.index_only:
        index_only(*chosen.index_only)
        return
    folder = FOLDER / "large"
    copied = make_large_tree(folder / "tree", chosen.size * 1e6)
    make_large_tree(folder / "part", chosen.beside * 1e6)
    asked = questions(folder / "tree" / "lib", QUESTIONS)
    for name, measure, tree in (("whole", whole, "tree"), ("beside", beside, "part")):
        if chosen.parts and name not in chosen.parts:
            continue
        table = measure(folder / tree, folder / name, asked).markdown()
        text = f"{table}\n\n{f'{copied:,} files. ' if name == 'whole' else ''}{machine(_VERSIONS)}"
        print(text, flush=True)
        if chosen.size == float("inf") and chosen.beside == BESIDE:
            write_section(name, text)


if __name__ == "__main__":
    main()
