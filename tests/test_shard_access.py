"""Many processes and threads take turns at one shard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from vecloom.errors import StoreBusyError, StoreError
from vecloom.lock import FileLock
from vecloom.stores.access import ShardAccess
from vecloom.stores.edge import EdgeStore
from vecloom.stores.optimise import optimise
from vecloom.stores.waiting import Queue, Ticket
from vecloom.types import Leg, Points, Schema, SparseRows, VectorField

SCHEMA = Schema((VectorField("dense", "dense", 8), VectorField("words", "sparse", modifier="idf")))
SOURCE = str(Path(__file__).parent.parent / "src")
HEADER = f"""
import sys, time
sys.path[:0] = [{SOURCE!r}, {str(Path(__file__).parent)!r}]
from test_shard_access import *
folder = Path(sys.argv[1])
"""


def point_id(i: int) -> str:
    return f"00000000-0000-4000-8000-{i:012x}"


def points(count: int, first: int = 0) -> Points:
    rng = np.random.default_rng(first)
    indices = np.stack([np.zeros(count), 1 + np.arange(count) % 50], axis=1).astype(np.uint32).ravel()
    return Points(
        [point_id(i) for i in range(first, first + count)],
        [
            {"path": f"p/{i // 9}.py", "source": "tree", "text": f"text {i}"}
            for i in range(first, first + count)
        ],
        {
            "dense": rng.normal(size=(count, 8)).astype(np.float32),
            "words": SparseRows(
                2 * np.arange(count + 1), indices, rng.random(2 * count, dtype=np.float32) + 0.1
            ),
        },
    )


def current(folder: Path) -> Path:
    return folder / str(json.loads((folder / "index.json").read_text())["shard"])


def switch(folder: Path, shard: str) -> None:
    (folder / "index.tmp").write_text(json.dumps({"shard": shard}))
    (folder / "index.tmp").replace(folder / "index.json")


def access_to(folder: Path, idle: float = 1.0, wait: float = 10.0) -> ShardAccess:
    return ShardAccess(folder, lambda: EdgeStore.open(current(folder), SCHEMA), idle, wait)


def search(store: EdgeStore) -> list[list[tuple[str, float]]]:
    query = np.random.default_rng(99).normal(size=8).astype(np.float32)
    words = (np.array([0, 7], np.uint32), np.ones(2, np.float32))
    found = store.search([Leg("dense", query), Leg("words", words)], None, 10, ())
    return [[(hit.id, hit.score) for hit in hits] for hits in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = EdgeStore.create(tmp_path / "shard-1", SCHEMA)
    store.upsert(points(300))
    store.close()
    switch(tmp_path, "shard-1")
    return tmp_path


def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEADER + code, str(folder), *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": SOURCE},
        text=True,
    )


@contextmanager
def holder(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs ``code`` until it prints a line, and is killed in the end."""
    with start(code, folder) as process:
        assert process.stdout is not None and process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


HOLDS = """
access = access_to(folder)
with access.open("index") as store:
    access.tell("40% of 5,000 chunks")
    print("held", flush=True)
    time.sleep(60)
"""

WARM = """
access = access_to(folder, idle=60)
with access.open("search") as store:
    store.count()
print("warm", flush=True)
time.sleep(60)
"""


def test_a_holder_is_named_with_its_progress(folder: Path) -> None:
    with holder(folder, HOLDS) as process:
        time.sleep(0.6)
        started = time.monotonic()
        with (
            pytest.raises(StoreBusyError, match=rf"process {process.pid} .*to index for") as busy,
            access_to(folder, wait=0.3).open("search"),
        ):
            pytest.fail("two had it")
        assert "-c" in str(busy.value) and "try again" in str(busy.value)
        assert 0.3 <= time.monotonic() - started < 5


def test_progress_is_told_while_it_is_held(folder: Path) -> None:
    access = access_to(folder)
    with access.open("index"):
        access.tell("10 of 20 chunks")
        access._told = 0.0
        access.tell("12 of 20 chunks")
        with (
            pytest.raises(StoreBusyError, match="12 of 20 chunks"),
            access_to(folder, wait=0.05).open("search"),
        ):
            pytest.fail("two had it")
    access.close()


def test_a_killed_holder_holds_nothing(folder: Path) -> None:
    with holder(folder, HOLDS) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        access = access_to(folder)
        with access.open("search") as store:
            assert store.count() == 300
        access.close()


def test_a_warm_holder_gives_way(folder: Path) -> None:
    with holder(folder, WARM):
        access = access_to(folder, wait=5)
        with access.open("search") as store:
            assert store.count() == 300
        access.close()


def test_the_shard_stays_open_between_uses(folder: Path) -> None:
    access = access_to(folder, idle=30)
    with access.open("search") as first:
        pass
    with access.open("search") as second:
        assert second is first
    access.close()
    with pytest.raises(StoreError, match="closed"):
        first.count()
    with access.open("search") as third:
        assert third is not first
    access.close()


def test_an_idle_shard_is_closed(folder: Path) -> None:
    access = access_to(folder, idle=0.05)
    with access.open("search") as store:
        pass
    deadline = time.monotonic() + 10
    while access._lock.held and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(StoreError, match="closed"):
        store.count()
    EdgeStore.open(current(folder), SCHEMA).close()


def raise_from(store: EdgeStore) -> None:
    raise KeyError(f"mine: {store.count()}")


def test_an_error_inside_leaves_the_shard_usable(folder: Path) -> None:
    access = access_to(folder)
    with pytest.raises(KeyError, match="mine"), access.open("search") as store:
        raise_from(store)
    with access.open("search") as store:
        assert store.count() == 300
    access.close()


def test_an_error_of_opening_frees_the_lock(folder: Path) -> None:
    switch(folder, "shard-9")
    access = access_to(folder)
    with pytest.raises(StoreError, match="shard-9"), access.open("search"):
        pytest.fail("there is none")
    switch(folder, "shard-1")
    other = access_to(folder, wait=1)
    with other.open("search") as store:
        assert store.count() == 300
    other.close()


def test_a_program_without_the_lock_is_waited_for(folder: Path) -> None:
    foreign = EdgeStore.open(current(folder), SCHEMA)
    with pytest.raises(StoreBusyError, match="another process"), access_to(folder, wait=0.2).open("search"):
        pytest.fail("two had it")
    threading.Timer(0.2, foreign.close).start()
    access = access_to(folder)
    with access.open("search") as store:
        assert store.count() == 300
    access.close()


def test_who_waited_opens_what_is_current_then(folder: Path) -> None:
    access = access_to(folder)
    other = access_to(folder)
    seen: list[Path] = []

    def wait_and_look() -> None:
        with other.open("search") as store:
            seen.append(store.path)
        other.close()

    with access.locked("switch"):
        waiter = threading.Thread(target=wait_and_look)
        waiter.start()
        time.sleep(0.1)
        (folder / "shard-1").rename(folder / "shard-2")
        switch(folder, "shard-2")
    waiter.join(10)
    assert seen == [folder / "shard-2"]


def test_threads_take_turns(folder: Path) -> None:
    access = access_to(folder)
    inside = [0]
    most = [0]
    wanted = search_of(access)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(10):
            with access.open("search") as store:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                if search(store) != wanted:
                    wrong.append(store)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    access.close()
    assert most == [1] and not wrong


def search_of(access: ShardAccess) -> list[list[tuple[str, float]]]:
    with access.open("search") as store:
        return search(store)


def test_twenty_processes_at_once_all_answer(folder: Path) -> None:
    code = "access = access_to(folder)\nprint(json.dumps(search_of(access)))\n"
    access = access_to(folder)
    wanted = search_of(access)
    access.close()
    processes = [start(code, folder) for _ in range(20)]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 20
    assert all([[tuple(hit) for hit in leg] for leg in json.loads(answer)] == wanted for answer in answers)


def test_searches_run_beside_a_writer(folder: Path) -> None:
    code = """
access = access_to(folder, idle=30)
for first in range(300, 3300, 100):
    with access.open("index") as store:
        store.upsert(points(100, first))
        store.finalize()
    time.sleep(0.02)
access.close()
"""
    counts = []
    with start(code, folder) as writer:
        while writer.poll() is None:
            access = access_to(folder)
            with access.open("search") as store:
                counts.append(store.count())
            access.close()
    assert writer.returncode == 0
    assert counts == sorted(counts) and len(set(counts)) > 2
    access = access_to(folder)
    with access.open("search") as store:
        assert store.count() == 3300
    access.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = access_to(folder)
    monkeypatch.setattr(access, "_pid", os.getpid() - 1)
    with pytest.raises(StoreError, match="fork"), access.open("search"):
        pytest.fail("opened")


#: Forks while the shard is open, in a block or behind one; says the child's id, and waits for an order.
FORKS = """
access = access_to(folder, idle=60)
writer = FileLock(folder / "writer.lock")
assert writer.acquire()
def fork():
    child = os.fork()
    if child == 0:
        try:
            with access.open("search"):
                print("the child has it", flush=True)
        except StoreError:
            pass
        access.close()
        if sys.argv[2] == "ends":
            sys.exit(0)
        time.sleep(60)
        os._exit(0)
    return child
with access.open("index") as store:
    assert store.count() == 300
    if sys.argv[3] == "held":
        child = fork()
if sys.argv[3] == "warm":
    child = fork()
if sys.argv[2] == "ends":
    assert os.waitpid(child, 0)[1] == 0
print(child, flush=True)
assert sys.stdin.readline() == "search\\n"
with access.open("search") as store:
    assert len(search(store)[0]) == 10
print("found", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("state", ["held", "warm"])
@pytest.mark.parametrize("child_does", ["ends", "lives"])
def test_a_forked_child_keeps_nobody_out_and_takes_nothing_from_its_parent(
    folder: Path, state: str, child_does: str
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HEADER + FORKS, str(folder), child_does, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": SOURCE},
        text=True,
    )
    assert parent.stdin is not None and parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        lock, writer = FileLock(folder / "shard.lock"), FileLock(folder / "writer.lock")
        # The parent has both locks still, the engine's own among them, whatever became of the child.
        assert not lock.acquire() and not writer.acquire()
        with pytest.raises(StoreBusyError):
            EdgeStore.open(current(folder), SCHEMA)
        parent.stdin.write("search\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "found\n"
        parent.kill()
        parent.wait()
        assert writer.acquire()
        writer.release()
        access = access_to(folder, wait=1.0)
        with access.open("search") as store:
            assert len(search(store)[0]) == 10
        access.close()
    finally:
        if child_does == "lives":
            os.kill(child, signal.SIGKILL)
        parent.kill()
        parent.communicate()


def test_tickets_are_served_in_order(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "waiting")
    assert queue.first() is None
    first, second = Ticket(queue), Ticket(queue)
    assert first.precedes(queue.first()) and not second.precedes(queue.first())
    first.leave()
    assert second.precedes(queue.first())
    second.leave()
    assert queue.first() is None


def test_who_waits_is_patient_while_the_queue_moves(folder: Path) -> None:
    """Six that hold the shard for 0.3 s each: the last waits longer than its patience of 1 s."""
    took: list[float] = []

    def work() -> None:
        access = access_to(folder, wait=1.0)
        start = time.monotonic()
        with access.open("search"):
            took.append(time.monotonic() - start)
            time.sleep(0.3)
        access.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 6 and max(took) > 1.0


def test_the_dead_do_not_count(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "waiting")
    Ticket(queue)
    [silent] = queue.folder.iterdir()
    now = time.time()
    os.utime(silent, (now - 10, now - 10))
    assert queue.first() is None and silent.exists()
    os.utime(silent, (now - 100, now - 100))
    assert queue.first() is None and not silent.exists()


def test_a_silent_ticket_comes_back_in_its_place(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "waiting")
    first = Ticket(queue)
    second = Ticket(queue)
    for path in queue.folder.iterdir():
        if path.name == first._name:
            path.unlink()
    assert second.precedes(queue.first())
    first._touched = -1e9
    first.touch()
    assert first.precedes(queue.first()) and not second.precedes(queue.first())


def test_a_lock_is_one_at_a_time(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire() and one.held
    assert not two.acquire() and not two.held
    with pytest.raises(RuntimeError):
        one.acquire()
    one.release()
    one.release()
    assert two.acquire()
    two.release()


def test_a_folder_that_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be locked"), access_to(tmp_path / "nowhere").open("search"):
        pytest.fail("opened")


# Optimising.


def optimised(folder: Path) -> None:
    access = access_to(folder)
    optimise(access, folder / "shard-1", folder / "shard-2", lambda: switch(folder, "shard-2"))
    access.close()


def test_optimising_changes_no_answer(folder: Path) -> None:
    access = access_to(folder)
    with access.open("index") as store:
        store.upsert(points(12_000))
        store.delete(ids=[point_id(i) for i in range(0, 600, 2)])
        assert store.indexed() == 0
    access.close()
    before = search_of(access)
    access.close()
    optimised(folder)
    assert not (folder / "shard-1").exists() and current(folder) == folder / "shard-2"
    with access.open("search") as store:
        assert store.count() == 12_000 - 300
        assert store.indexed() == 12_000 - 300
        after = search(store)
        for was, now in zip(before, after, strict=True):
            assert [hit for hit, _ in was] == [hit for hit, _ in now]
            assert [score for _, score in was] == pytest.approx([score for _, score in now], rel=1e-4)
        store.upsert(points(10, 50_000))
        store.finalize()
        assert store.count() == 12_000 - 290 and store.indexed() == 12_000 - 300
    access.close()


def test_searches_run_beside_an_optimiser(folder: Path) -> None:
    done = threading.Event()

    def run() -> None:
        optimised(folder)
        done.set()

    worker = threading.Thread(target=run)
    worker.start()
    searcher = access_to(folder)
    answers = 0
    while not done.is_set():
        with searcher.open("search") as store:
            assert store.count() == 300
            answers += 1
    worker.join()
    searcher.close()
    assert answers > 1 and current(folder).name == "shard-2"


def test_a_killed_optimiser_leaves_the_old_shard(folder: Path) -> None:
    for delay in (0.0, 0.05, 0.3, 0.6):
        with start("print('on', flush=True)\noptimised(folder)\n", folder) as process:
            assert process.stdout is not None and process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
        access = access_to(folder)
        with access.open("search") as store:
            assert store.count() == 300
        access.close()
        for path in folder.glob("shard-*/"):
            if path != current(folder):
                shutil.rmtree(path)
        assert [path.name for path in folder.glob("shard-*/")] == [current(folder).name]
        if current(folder).name != "shard-1":
            break
    optimise(access_to(folder), current(folder), folder / "shard-3", lambda: switch(folder, "shard-3"))
    access = access_to(folder)
    with access.open("search") as store:
        assert store.count() == 300 and store.path.name == "shard-3"
    access.close()


def test_an_optimiser_that_fails_says_so_and_leaves_nothing(folder: Path) -> None:
    before = current(folder)
    (folder / "shard-2").mkdir()
    with pytest.raises(StoreError, match="shard-2"):
        optimised(folder)
    (folder / "shard-2").rmdir()
    segments = next((before / "segments").iterdir())
    (segments / "segment.json").write_text("{")
    with pytest.raises(StoreError):
        optimise(access_to(folder), before, folder / "shard-2", lambda: switch(folder, "shard-2"))
    assert current(folder) == before and not (folder / "shard-2").exists()
