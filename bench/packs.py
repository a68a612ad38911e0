"""Packs: what writing, loading and exporting them costs, and a large one that is killed again and again.

    python -m bench.packs [rates] [large] [http] [--chunks N] [--kills N] [--small]

``rates`` compares with bare loops over the same points. ``large`` makes a pack with a tiny model (its speed
says nothing), once whole and once killed so many times, and loads it into an embedded index the same way;
``http`` loads a smaller one to a stand-in of a server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import FOLDER
from bench.children import python
from bench.report import Table, machine, write_section
from bench.standins import make_minilm
from bench.tree import make_tree
from vecloom import carry
from vecloom.config import Config, load_config
from vecloom.index import Index
from vecloom.pack.reading import Pack
from vecloom.pipeline.loading import _batches
from vecloom.stores import edge_terms
from vecloom.types import Points

#: Chunks of the large pack, and how often each of its commands is killed.
CHUNKS, KILLS = 200_000, 50

#: Chunks of the pack that goes over HTTP.
HTTP_CHUNKS = 5000

#: Bytes of the tree whose rates are measured, and how often its points are loaded: just too few for a graph.
RATED, TIMES = 4_000_000, 3

_VERSIONS = ("vecloom", "pyarrow", "orjson", "qdrant-edge-py", "qdrant-client", "numpy")


def large(folder: Path, chunks: int, kills: int) -> Table:
    """A pack of so many chunks: memory, seconds, and what kills change."""
    home = folder / "home"
    config = _cheap_config(home)
    tree = _written_tree(folder / "tree", chunks)
    rng = random.Random(1)
    rows = []
    clean, killed = folder / "clean", folder / "killed"
    for path in (clean, killed, folder / "index", folder / "killed-index"):
        shutil.rmtree(path, ignore_errors=True)
    embed: list[str | Path] = ["embed", tree, "--models", "cheap,bm25", "--chunk-tokens", "64", "--out"]
    whole = _whole(home, [*embed, clean], clean)
    times = _killed(home, [*embed, killed], rng, whole.seconds / kills, kills)
    same = (clean / "manifest.json").read_bytes() == (killed / "manifest.json").read_bytes()
    points = Pack.open(clean).manifest.points
    rows.append(_row("embed", points, whole, times, "the same bytes" if same else "OTHER BYTES"))
    load: list[str | Path] = ["load", clean, "--to"]
    whole = _whole(home, [*load, folder / "index"], folder / "index")
    times = _killed(home, [*load, folder / "killed-index"], rng, whole.seconds / kills, kills)
    other = _differing(folder / "index", folder / "killed-index", config)
    rows.append(_row("load", points, whole, times, f"{other:,} points differ"))
    heads = (
        "command",
        "chunks",
        "seconds",
        "MB at 10%",
        "MB at the end",
        "kills",
        "with them, s",
        "afterwards",
    )
    return Table(heads, rows)


def over_http(folder: Path, chunks: int, kills: int) -> Table:
    """A pack to a stand-in of a server, whole and killed so many times; what that changes."""
    standin = _standin()
    home, pack = folder / "home", folder / "pack"
    config = _cheap_config(home)
    tree = _written_tree(folder / "tree", chunks)
    carry.embed(pack, tree, models=("cheap", "bm25"), chunk_tokens=64, config=config)
    rng = random.Random(2)
    other, spent = 0, list[float]()
    with standin() as server:
        client = server.client(timeout=60)
        load: list[str | Path] = ["load", pack, "--to", server.url, "--collection"]
        (whole,) = _killed(home, [*load, "clean"], rng, 0.0, 0)
        clean = _held(client, "clean")
        while len(spent) < kills:
            client.delete_collection("docs")
            for _ in range(min(_IN_A_ROW, kills - len(spent))):
                spent.append(_kill(home, [*load, "docs"], whole * (0.4 + 0.6 * rng.random())))
            _killed(home, [*load, "docs"], rng, 0.0, 0)
            found = _held(client, "docs")
            other += sum(
                not _same_point(clean.get(one), found.get(one)) for one in clean.keys() | found.keys()
            )
    row = ["load", f"{len(clean):,}", f"{whole:.1f}", str(len(spent)), f"{sum(spent):,.0f}"]
    row.append(f"{other:,} points differ")
    return Table(("command", "chunks", "seconds", "kills", "of them, s", "afterwards"), [row])


#: Kills of one load before it is let to its end.
_IN_A_ROW = 5


def _standin() -> Any:
    """The stand-in of a server that the tests use."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from qdrant_standin import Standin

    return Standin


def _held(client: Any, collection: str) -> dict[str, Any]:
    found, following = client.scroll(collection, limit=1_000_000, with_vectors=True)
    if following is not None:
        raise RuntimeError(f"{collection} holds more than was read")
    return {str(one.id): one for one in found}


def _same_point(one: Any, other: Any) -> bool:
    """Whether two points are alike; dense values to the seventh digit: the stand-in normalises them anew."""
    if (
        one is None
        or other is None
        or one.payload != other.payload
        or one.vector.keys() != other.vector.keys()
    ):
        return False
    return all(
        np.allclose(vector, other.vector[name], rtol=0, atol=2e-7)
        if isinstance(vector, list)
        else vector == other.vector[name]
        for name, vector in one.vector.items()
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A whole run: seconds, and bytes of memory when a tenth was done and at the end."""

    seconds: float
    early: int
    late: int


def _row(name: str, points: int, whole: _Run, times: Sequence[float], afterwards: str) -> list[str]:
    return [
        name,
        f"{points:,}",
        f"{whole.seconds:,.0f}",
        f"{whole.early / 1e6:,.0f}",
        f"{whole.late / 1e6:,.0f} ({whole.late / max(1, whole.early):.2f}x)",
        str(len(times) - 1),
        f"{sum(times):,.0f}",
        afterwards,
    ]


def _cheap_config(home: Path) -> Config:
    """Settings with the row of a tiny random model, called ``cheap``."""
    make_minilm(home / "model", max_position_embeddings=512)
    row = '[models.cheap]\nfolder = "model"\nkind = "dense"\ndim = 64\npooling = "mean"\nmax_tokens = 512\n'
    dim = json.loads((home / "model" / "config.json").read_text("utf-8"))["hidden_size"]
    row = row.replace("64", str(dim)) + 'normalise = true\nbackends = ["onnx"]\n'
    (home / "config.toml").write_text(row, "utf-8")
    return load_config(environ=_environ(home))


def _environ(home: Path) -> dict[str, str]:
    return {
        "VECLOOM_CONFIG": str(home / "config.toml"),
        "VECLOOM_DATA_DIR": str(home / "data"),
        "VECLOOM_CACHE_DIR": str(home / "cache"),
    }


def _written_tree(folder: Path, chunks: int) -> Path:
    """Files of prose that give about so many chunks of 64 tokens."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = random.Random(7)
    words = ["abcdefghij"[rng.randrange(10)] * rng.randint(1, 3) for _ in range(500)]
    for number in range(-(-chunks // 100)):
        path = folder / f"{number % 100:02d}" / f"note{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(rng.choices(words, k=18)) + f" {number}-{i}.\n\n" for i in range(100)]
        path.write_text("".join(lines), "utf-8")
    return folder


def _whole(home: Path, command: Sequence[str | Path], place: Path) -> _Run:
    """Run a command to its end, and look at its memory as its work goes on."""
    started = time.perf_counter()
    seen: list[int] = []
    with _started(home, command) as child:
        while child.poll() is None:
            if _share(place) >= _EARLY and (size := _memory(child.pid)):
                seen.append(size)
            time.sleep(0.05)
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}")
    seen = seen or [0]  # it was over before it told how far it is
    return _Run(time.perf_counter() - started, seen[0], max(seen[-10:]))


#: The share of its chunks after which a command's memory is looked at first.
_EARLY = 0.1


def _share(place: Path) -> float:
    """How many of its chunks a command has encoded or loaded, from the note that it leaves."""
    try:
        said = json.loads((place / "writer.json").read_text("utf-8"))["progress"].split()
    except (OSError, ValueError):
        return 0.0
    if said[:1] not in (["encode"], ["load"]) or said[3] == "0":
        return 0.0
    return int(said[1]) / int(said[3])


def _killed(
    home: Path, command: Sequence[str | Path], rng: random.Random, step: float, kills: int
) -> list[float]:
    """Run a command, killed so many times after some ``step`` seconds of work, then to its end; the times."""
    times = [_kill(home, command, _STARTS + step * (0.5 + rng.random())) for _ in range(kills)]
    started = time.perf_counter()
    with _started(home, command) as child:
        pass
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}")
    return [*times, time.perf_counter() - started]


def _kill(home: Path, command: Sequence[str | Path], seconds: float) -> float:
    """Run a command and kill it after so many seconds, if it has not ended before; how long it ran."""
    started = time.perf_counter()
    with _started(home, command) as child:
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    return time.perf_counter() - started


#: Seconds until a command works.
_STARTS = 1.5


@contextmanager
def _started(home: Path, command: Sequence[str | Path]) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, **_environ(home)}
    with subprocess.Popen(
        python("vecloom", *command), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        yield child


def _memory(pid: int) -> int:
    """Resident bytes of a process."""
    try:
        said = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in said.splitlines() if line.startswith("VmRSS"))


def _differing(one: Path, other: Path, config: Config) -> int:
    """How many points two indexes do not both hold, alike to the last bit."""
    found = 0
    with Index.open(one, config=config) as mine, Index.open(other, config=config) as theirs:
        names = list(mine._load().names)
        with mine._home.access.open("compare") as first, theirs._home.access.open("compare") as second:
            found += abs(first.count() - second.count())
            pairs = zip(first.scroll(vectors=names), second.scroll(vectors=names), strict=False)
            for left, right in pairs:
                same = left.id == right.id and left.payload == right.payload
                same = same and all(_equal(left.vectors[name], right.vectors[name]) for name in names)
                found += not same
    return found


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    return np.array_equal(one, other)


def rates(folder: Path, size: int, rounds: int) -> Table:
    """What packs cost beside what they are compared with, by turns."""
    config = load_config()
    tree = make_tree(folder / "rated", size).folder
    shutil.rmtree(folder / "pack", ignore_errors=True)
    started = time.process_time()
    carry.embed(folder / "pack", tree, config=config)
    encoding = time.process_time() - started
    pack = Pack.open(folder / "pack")
    points = [points for shard in pack.manifest.shards for points in pack.points(shard)]
    rows = [_writing(pack, points, folder, encoding, rounds)]
    count = _multiplied(folder / "pack", TIMES)
    pack = Pack.open(folder / "pack")
    points = [points for shard in pack.manifest.shards for points in pack.points(shard)]
    rows.append(_turns("load, embedded", count, rounds, *_edge(folder, config)))
    rows.append(_turns("load, HTTP", count, rounds, *_http(folder, config)))
    rows.append(_exporting(folder, config, points, rounds))
    return Table(("what", "ours", "compared with", "ratio"), rows)


def _multiplied(folder: Path, times: int) -> int:
    """Write the points of a pack so many times, under other paths; returns how many there are then."""
    from vecloom.pack.columns import table_of
    from vecloom.pack.writing import PackWriter

    pack = Pack.open(folder)
    writer = PackWriter(folder, pack.manifest)
    shards = pack.manifest.shards
    for turn in range(1, times):
        for number, shard in enumerate(shards):
            with writer.shard(turn * len(shards) + number, shard.vectors) as written:
                for points in pack.points(shard):
                    ids = [str(uuid.uuid5(uuid.UUID(one), str(turn))) for one in points.ids]
                    payloads = [{**one, "path": f"{turn}/{one['path']}"} for one in points.payloads]
                    written.write(table_of(Points(ids, payloads, points.vectors), written.schema))
    writer.save()
    return writer.manifest.points


def _writing(pack: Pack, points: Sequence[Points], folder: Path, encoding: float, rounds: int) -> list[str]:
    from vecloom.pack.columns import table_of
    from vecloom.pack.manifest import PackManifest
    from vecloom.pack.writing import PackWriter

    took = []
    for _ in range(rounds):
        shutil.rmtree(folder / "written", ignore_errors=True)
        (folder / "written").mkdir()
        started = time.process_time()
        manifest = PackManifest.of(pack.manifest, fields=pack.manifest.fields)
        writer = PackWriter(folder / "written", manifest)
        for number, batch in enumerate(points):
            for names in ((), pack.manifest.names):  # as a run does: without the slow vectors, then with them
                with writer.shard(number, names) as shard:
                    shard.write(table_of(batch, shard.schema))
        writer.save()
        took.append(time.process_time() - started)
    seconds = sorted(took)[len(took) // 2]
    return [
        "writing a pack",
        f"{seconds:.2f} CPU-s",
        f"{encoding:.1f} CPU-s to make it",
        f"{seconds / encoding:.1%}",
    ]


Timed = tuple[Callable[[], float], Callable[[], float], str]


def _turns(
    name: str, points: int, rounds: int, ours: Callable[[], float], bare: Callable[[], float], what: str
) -> list[str]:
    """Two ways by turns: points a second, and the ratio of the medians."""
    pairs = [(ours(), bare()) if turn % 2 else (bare(), ours())[::-1] for turn in range(rounds)]
    mine, theirs = (sorted(one)[rounds // 2] for one in zip(*pairs, strict=True))
    ratios = sorted(other / own for own, other in pairs)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return [
        name,
        f"{points / mine:,.0f} points/s",
        f"{points / theirs:,.0f} points/s, {what}",
        f"{ratios[rounds // 2]:.2f}x ({spread})",
    ]


def _edge(folder: Path, config: Config) -> Timed:
    """Loading into an embedded index, and the engine's own upserts of the same points from the same files."""
    import qdrant_edge as engine

    pack = Pack.open(folder / "pack")

    def ours() -> float:
        shutil.rmtree(folder / "index", ignore_errors=True)
        started = time.perf_counter()
        carry.load(folder / "pack", folder / "index", config=config)
        return time.perf_counter() - started

    def bare() -> float:
        place = folder / "bare"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        started = time.perf_counter()
        shard = engine.EdgeShard.create(str(place), edge_terms.config(pack.manifest.stored))
        from vecloom.stores import INDEXED_KEYS

        for key in INDEXED_KEYS:
            shard.update(edge_terms.indexed(key))
        for one in pack.manifest.shards:
            for points in pack.points(one):
                for batch in _batches(points):
                    shard.update(edge_terms.upserted(batch))
        shard.flush()
        shard.close()
        return time.perf_counter() - started

    return ours, bare, "a bare loop of upserts"


def _http(folder: Path, config: Config) -> Timed:
    """Loading over HTTP, and `upload_points` of the client, into the same stand-in of a server."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from qdrant_client import models

    from vecloom.stores import client_terms

    pack, standin = Pack.open(folder / "pack"), _standin()

    def ours() -> float:
        with standin() as server:
            started = time.perf_counter()
            carry.load(folder / "pack", server.url, collection="docs", config=config)
            return time.perf_counter() - started

    def bare() -> float:
        def structs() -> Iterator[models.PointStruct]:
            for one in pack.manifest.shards:
                for points in pack.points(one):
                    for i, vector in client_terms.rows(points.vectors, range(len(points))):
                        yield models.PointStruct(
                            id=points.ids[i], payload=dict(points.payloads[i]), vector=vector
                        )

        with standin() as server:
            client = server.client(timeout=60)
            started = time.perf_counter()
            client.create_collection("docs", **client_terms.settings_of(pack.manifest.stored))
            client.upload_points("docs", structs(), batch_size=64, wait=True)
            return time.perf_counter() - started

    return ours, bare, "the client's upload_points"


def _exporting(folder: Path, config: Config, points: Sequence[Points], rounds: int) -> list[str]:
    """JSON Lines of a pack, and what the JSON library takes for the same lines."""
    import orjson

    from vecloom.pipeline.exporting import _OPTIONS, _json_vector

    def ours() -> float:
        (folder / "points.jsonl").unlink(missing_ok=True)
        started = time.perf_counter()
        carry.export(folder / "pack", "jsonl", folder / "points.jsonl", config=config)
        return time.perf_counter() - started

    lines = [
        {
            "id": batch.ids[i],
            "vector": {name: _json_vector(column, i) for name, column in batch.vectors.items()},
            "payload": batch.payloads[i],
        }
        for batch in points
        for i in range(len(batch))
    ]

    def bare() -> float:
        started = time.perf_counter()
        for line in lines:
            orjson.dumps(line, option=_OPTIONS)
        return time.perf_counter() - started

    ours()
    size = (folder / "points.jsonl").stat().st_size / 1e6
    pairs = [(ours(), bare()) for _ in range(rounds)]
    mine, theirs = (sorted(one)[rounds // 2] for one in zip(*pairs, strict=True))
    return [
        "export, JSONL",
        f"{size / mine:,.0f} MB/s",
        f"{size / theirs:,.0f} MB/s, orjson alone, from memory to memory",
        f"{theirs / mine:.2f}x",
    ]


def main() -> None:
    """Run what is asked, and write the section."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.packs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=("rates", "large", "http", []), help="(all)")
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--small", action="store_true", help="to see that it runs; nothing is written")
    chosen = parser.parse_args()
    parts = chosen.parts or ["rates", "large", "http"]
    with tempfile.TemporaryDirectory(dir=_made(FOLDER / "packs")) as place:
        folder = Path(place)
        for part in parts:
            if part == "rates":
                table = rates(folder, 200_000 if chosen.small else RATED, 1 if chosen.small else 5)
            elif part == "large":
                chunks, kills = (500, 3) if chosen.small else (chosen.chunks, chosen.kills)
                table = large(folder, chunks, kills)
            else:
                chunks, kills = (500, 3) if chosen.small else (HTTP_CHUNKS, chosen.kills)
                table = over_http(folder, chunks, kills)
            text = f"{table.markdown()}\n\n{machine(_VERSIONS)}"
            sys.stdout.write(f"{text}\n")
            if not chosen.small:
                write_section(f"packs-{part}", text)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
