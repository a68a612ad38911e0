"""Rates and latencies of the embedded store, over points like those of a real index.

    python bench/stores.py [--points 50000] [--keep FOLDER]

50,000 points of about 900 characters, with a clustered 384-d vector and two sparse legs of about 40 terms of
a Zipf vocabulary. Written as an index run writes them: one sparse leg first, then the rest in windows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecloom.stores.access import ShardAccess
from vecloom.stores.copying import FolderCopy
from vecloom.stores.edge import EdgeStore
from vecloom.stores.optimise import optimise
from vecloom.types import Filter, Leg, Points, Schema, SparseRows, VectorField

SCHEMA = Schema(
    (
        VectorField("dense", "dense", 384),
        VectorField("words", "sparse", modifier="idf"),
        VectorField("attention", "sparse", modifier="idf"),
    )
)
BATCH = 1000
FIELDS = ("source", "path", "text")
TEXT = "the quick brown fox jumps over the lazy dog and back again " * 15


class Corpus:
    """Points with the same seed each time."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(500, 384)).astype(np.float32)
        self.count = count
        noise = rng.normal(size=(count, 384)).astype(np.float32)
        self.dense = centres[rng.integers(0, 500, count)] + 0.7 * noise
        self.terms = np.minimum(rng.zipf(1.2, size=(count, 2, 60)), 40_000).astype(np.uint32)
        self.ids = [
            str(uuid.UUID(int=(i * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)) for i in range(count)
        ]

    def sparse(self, rows: range, leg: int) -> SparseRows:
        unique = [np.unique(self.terms[i, leg]) for i in rows]
        indices = np.concatenate(unique)
        return SparseRows(np.cumsum([0, *map(len, unique)]), indices, np.ones(len(indices), np.float32))

    def points(self, rows: range) -> Points:
        payloads = [
            {
                "source": "tree",
                "path": f"package/module_{i // 5}.py",
                "kind": "code",
                "language": "python",
                "chunk_hash": f"{i:064x}",
                "document_hash": f"{i // 5:064x}",
                "text": TEXT[:900],
                "start_line": i,
                "end_line": i + 20,
            }
            for i in rows
        ]
        return Points([self.ids[i] for i in rows], payloads, {"words": self.sparse(rows, 0)})

    def legs(self, i: int) -> list[Leg]:
        rng = np.random.default_rng(i)
        row = int(rng.integers(self.count))
        legs = [Leg("dense", self.dense[row] + 0.3 * rng.normal(size=384).astype(np.float32))]
        for leg, name in enumerate(("words", "attention")):
            terms = np.unique(rng.choice(self.terms[row, leg], 4))
            legs.append(Leg(name, (terms, np.ones(len(terms), np.float32))))
        return legs


def batches(count: int) -> Iterator[range]:
    for start in range(0, count, BATCH):
        yield range(start, min(start + BATCH, count))


@contextmanager
def timed(name: str, points: int = 0) -> Iterator[None]:
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rate = f"  {points / wall:>9,.0f} points/s" if points else ""
    print(f"{name:<44}{wall:>9.3f} s {cpu:>9.3f} cpu-s{rate}")


def percentiles(name: str, seconds: list[float]) -> None:
    p50, p95 = np.percentile(np.array(seconds) * 1000, (50, 95))
    print(f"{name:<44}p50 {p50:>7.2f} ms  p95 {p95:>7.2f} ms  ({len(seconds)})")


def write(corpus: Corpus, path: Path) -> None:
    with timed("create"):
        store = EdgeStore.create(path, SCHEMA)
    rows = [(r, corpus.points(r)) for r in batches(corpus.count)]
    with timed("upsert, payload and one sparse leg", corpus.count):
        for _, points in rows:
            store.upsert(points)
        store.finalize()
    sparse = [corpus.sparse(r, 1) for r in batches(corpus.count)]
    with timed("update_vectors, dense and sparse", corpus.count):
        for (r, points), attention in zip(rows, sparse, strict=True):
            store.update_vectors(
                points.ids, {"dense": corpus.dense[r.start : r.stop], "attention": attention}
            )
        store.finalize()
    with timed("update_payloads, 2,000", 2000):
        for _, points in rows[:2]:
            store.update_payloads(points.ids, [{"start_line": 1, "end_line": 2}] * len(points))
    with timed("flush after 2,000"):
        store.finalize()
    with timed("close"):
        store.close()


def open_and_close(path: Path) -> None:
    opened, closed = [], []
    for _ in range(5):
        start = time.perf_counter()
        store = EdgeStore.open(path, SCHEMA)
        middle = time.perf_counter()
        store.close()
        opened.append(middle - start)
        closed.append(time.perf_counter() - middle)
    percentiles("open", opened)
    percentiles("close", closed)


def window(corpus: Corpus, path: Path) -> None:
    """What an index run costs those who wait: one window of 1,000 vectors."""
    rows = range(BATCH)
    attention = corpus.sparse(rows, 1)
    with timed("a window: open, 1,000 vectors, flush, close"):
        store = EdgeStore.open(path, SCHEMA)
        store.update_vectors(corpus.ids[:BATCH], {"dense": corpus.dense[:BATCH], "attention": attention})
        store.finalize()
        store.close()


def searches(corpus: Corpus, access: ShardAccess, where: Filter | None, name: str) -> list[set[str]]:
    seconds, found = [], []
    for i in range(220):
        legs = corpus.legs(i)
        start = time.perf_counter()
        with access.open("search") as store:
            lists = store.search(legs, where, 100, FIELDS)
        seconds.append(time.perf_counter() - start)
        found.append({hit.id for hit in lists[0][:10]})
    percentiles(name, seconds[20:])
    return found


def exact(corpus: Corpus, queries: int) -> list[set[str]]:
    matrix = corpus.dense / np.linalg.norm(corpus.dense, axis=1, keepdims=True)
    best: list[NDArray[np.int64]] = []
    for i in range(queries):
        vector = corpus.legs(i)[0].vector
        best.append(np.argpartition(-(matrix @ np.asarray(vector)), 10)[:10])
    return [{corpus.ids[int(row)] for row in rows} for rows in best]


def hand_over(folder: Path, access: Callable[[], ShardAccess]) -> None:
    """From a warm holder in another process to this one, opening included."""
    code = (
        "import sys, time\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\n"
        "from stores import access_to\na = access_to(Path(sys.argv[1]), idle=60)\n"
        "while True:\n    with a.open('search') as s: s.count()\n    print('warm', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        seconds = []
        for _ in range(10):
            other.stdout.readline()
            mine = access()
            start = time.perf_counter()
            with mine.locked("measure"):
                seconds.append(time.perf_counter() - start)
            other.stdin.write("\n")
            other.stdin.flush()
        other.kill()
    percentiles("hand-over by a warm holder", seconds)


def access_to(folder: Path, idle: float = 1.0) -> ShardAccess:
    def current() -> EdgeStore:
        return EdgeStore.open(folder / json.loads((folder / "index.json").read_text())["shard"], SCHEMA)

    return ShardAccess(folder, current, idle)


def switch(folder: Path, shard: str) -> None:
    (folder / "index.tmp").write_text(json.dumps({"shard": shard}))
    (folder / "index.tmp").replace(folder / "index.json")


def optimising(corpus: Corpus, folder: Path) -> None:
    """The copy, then the whole, with a search every 0.2 s beside it."""
    with timed("copy of the closed shard"):
        copy = FolderCopy(folder / "shard-1", folder / "copy")
        copy.bring_up()
    with timed("copy, the pass with the lock"):
        copy.bring_up()
    shutil.rmtree(folder / "copy")
    seconds: list[float] = []
    done = threading.Event()

    def search() -> None:
        beside = access_to(folder, idle=0)
        while not done.is_set():
            start = time.perf_counter()
            with beside.open("search") as store:
                store.search(corpus.legs(len(seconds)), None, 100, FIELDS)
            seconds.append(time.perf_counter() - start)
            time.sleep(0.2)
        beside.close()

    searcher = threading.Thread(target=search)
    searcher.start()
    access = access_to(folder)
    with timed("optimise, in a process of its own", corpus.count):
        optimise(access, folder / "shard-1", folder / "shard-2", lambda: switch(folder, "shard-2"))
    done.set()
    searcher.join()
    percentiles("a search beside it, opening included", seconds)
    print(f"{'':<44}max {max(seconds) * 1000:>7.2f} ms")


def measure(corpus: Corpus, folder: Path) -> None:
    write(corpus, folder / "shard-1")
    switch(folder, "shard-1")
    some = Filter(match={"path": tuple(f"package/module_{i}.py" for i in range(0, corpus.count // 5, 10))})
    truth = exact(corpus, 220)
    for shard in ("shard-1", "shard-2"):
        print(f"-- {'as written' if shard == 'shard-1' else 'optimised'}")
        open_and_close(folder / shard)
        access = access_to(folder, idle=60)
        found = searches(corpus, access, None, "search of three legs, limit 100, warm")
        recall = sum(len(a & b) for a, b in zip(found, truth, strict=True)) / (10 * len(truth))
        print(f"{'dense recall@10':<44}{recall:.4f}")
        searches(corpus, access, some, "the same within a tenth of the files")
        with access.open("search") as store, timed("facet of all paths"):
            store.facet("path")
        access.close()
        hand_over(folder, lambda: access_to(folder))
        if shard == "shard-1":
            window(corpus, folder / shard)
            optimising(corpus, folder)
    window(corpus, folder / "shard-2")
    open_and_close(folder / "shard-2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--keep", type=Path, help="a folder for the index, which stays")
    chosen = parser.parse_args()
    corpus = Corpus(chosen.points)
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        measure(corpus, chosen.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(corpus, Path(folder))


if __name__ == "__main__":
    main()
