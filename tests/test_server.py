"""An index on a server: the hits of a folder, and whatever the server does, nothing lost or doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from changing_tree import ChangingTree
from qdrant_operations import TokenAccess
from qdrant_standin import Standin
from vecloom import carry
from vecloom.cli import run
from vecloom.config import Config, load_config
from vecloom.errors import IndexFormatError, IndexMismatchError, StoreError, UsageError
from vecloom.index import Index
from vecloom.pipeline import filling, loading
from vecloom.pipeline.manifest import Manifest
from vecloom.recipe import Asked
from vecloom.stores import INDEXED_KEYS, client_terms, connection
from vecloom.stores.client import ClientStore
from vecloom.types import Hit, Points, ProfileName

KEY = "not-to-be-seen"


@pytest.fixture(scope="module")
def server() -> Iterator[Standin]:
    with Standin(api_key=KEY) as standin:
        yield standin


@pytest.fixture
def url(server: Standin) -> str:
    server.forget()
    for one in server.client().get_collections().collections:
        server.client().delete_collection(one.name)
    return server.url


@pytest.fixture
def config(tiny_home: Path, tmp_path: Path) -> Config:
    environ = {
        "VECLOOM_CONFIG": str(tiny_home / "config.toml"),
        "VECLOOM_DATA_DIR": str(tmp_path / "data"),
        "VECLOOM_CACHE_DIR": str(tiny_home / "cache"),
        "QDRANT_API_KEY": KEY,
    }
    return load_config(environ=environ)


@dataclass(frozen=True)
class Place:
    """A server, the name of a collection that is not there yet, and the settings to reach it."""

    url: str
    name: str
    config: Config


@pytest.fixture(params=["standin", *(["server"] if os.environ.get("QDRANT_URL") else [])])
def place(request: pytest.FixtureRequest, server: Standin, config: Config) -> Iterator[Place]:
    """The stand-in, and a real server where ``QDRANT_URL`` names one; what a test makes there is removed."""
    if request.param == "standin":
        yield Place(server.url, f"test-{uuid.uuid4().hex}", config)
        return
    given = Place(
        os.environ["QDRANT_URL"],
        f"vecloom-test-{uuid.uuid4().hex}",
        replace(config, api_key=os.environ.get("QDRANT_API_KEY")),
    )
    yield given
    client = connection.connect(given.url, given.config.api_key)
    for one in client.get_collections().collections:
        if one.name.startswith(given.name):
            client.delete_collection(one.name)
    client.close()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WINDOW_TEXTS", 16)
    monkeypatch.setattr(loading, "VISIT_POINTS", 1)
    monkeypatch.setattr(client_terms, "REQUEST_POINTS", 8)
    monkeypatch.setattr(connection, "PATIENCE", 5.0)
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    ChangingTree(tmp_path / "tree", random.Random(4)).change()
    return tmp_path / "tree"


def held(server: Standin, collection: str) -> dict[str, tuple[Any, Any]]:
    """All that a collection holds, asked with plain client code."""
    found, following = server.client().scroll(collection, limit=100_000, with_vectors=True)
    assert following is None
    return {str(one.id): (one.payload, one.vector) for one in found}


def differing(server: Standin, one: str = "docs", other: str = "clean") -> list[str]:
    """Points that two collections do not both hold, alike.

    Dense values to the seventh digit: the stand-in brings them to unit length anew whenever they are sent.
    """
    mine, theirs = held(server, one), held(server, other)
    lines = sorted(mine.keys() ^ theirs.keys())
    for point in mine.keys() & theirs.keys():
        (payload, vectors), (wanted, others) = mine[point], theirs[point]
        alike = payload == wanted and vectors.keys() == others.keys()
        if not (alike and all(_alike(vectors[name], others[name]) for name in vectors)):
            lines.append(point)
    return lines


def _alike(vector: Any, other: Any) -> bool:
    return bool(
        np.allclose(vector, other, rtol=0, atol=2e-7) if isinstance(vector, list) else vector == other
    )


def ranked(hits: list[Hit]) -> list[tuple[str, dict[str, int]]]:
    return [(hit.id, {name: leg.rank for name, leg in hit.legs.items()}) for hit in hits]


def test_a_server_gives_the_same_hits_as_a_folder(place: Place, tree: Path, tmp_path: Path) -> None:
    with (
        Index.create(tmp_path / "index", config=place.config) as folder,
        Index.create(place.url, collection=place.name, config=place.config) as server,
    ):
        mine, theirs = folder.add(tree), server.add(tree)
        assert mine.points == theirs.points and mine.encoded == theirs.encoded
        questions: list[dict[str, Any]] = [
            {},
            {"fusion": "weighted"},
            {"fusion": "dbsf", "weights": {"bm25": 2.0}},
            {"using": ["bm25"]},
            {"per_file": 3, "limit": 20},
            {"filters": {"path": "src/**"}},
            {"filters": {"kind": "code", "language": ["python", "markdown"]}},
            {"filters": {"path": "nowhere/*"}},
        ]
        for question in questions:
            found = server.search("open connection retry", **question)
            wanted = folder.search("open connection retry", **question)
            assert ranked(found) == ranked(wanted), question
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], rel=1e-4)
        status = server.status()
        assert status.points == mine.points and status.bytes is None and status.incomplete == ()
        assert status.folder.endswith(f"/collections/{place.name}")
        assert status.sources["tree"] == (str(tree), mine.points)
        (tree / "further.md").write_text("# Further\n\nA heddle.\n", "utf-8")
        assert server.add(tree).new == 1
        assert server.search("heddle", using=["bm25"])[0].path == "further.md"
        assert server.remove("tree") == theirs.points + 1


def test_a_pack_on_a_server_gives_the_hits_of_the_same_pack_in_a_folder(
    place: Place, tree: Path, tmp_path: Path
) -> None:
    pack, alias = tmp_path / "pack", f"{place.name}-live"
    carry.embed(pack, tree, config=place.config)
    profiles: tuple[ProfileName, ...] = ("default", "v5")
    for profile in profiles:
        name = f"{place.name}-{profile}"
        carry.load(pack, place.url, collection=name, profile=profile, alias=alias, config=place.config)
        carry.load(pack, tmp_path / profile, profile=profile, config=place.config)
        with (
            Index.open(place.url, collection=alias, config=place.config) as server,
            Index.open(tmp_path / profile, config=place.config) as folder,
        ):
            assert server.status().vectors == folder.status().vectors
            asked: dict[str, Any] = {"per_file": 2, "filters": {"language": "python"}}
            found = server.search("open connection retry", **asked)
            assert found and ranked(found) == ranked(folder.search("open connection retry", **asked))


def test_another_machine_goes_on_with_it(
    url: str, server: Standin, tree: Path, tmp_path: Path, tiny_home: Path, config: Config
) -> None:
    with Index.create(url, ("minilm", "bm25"), collection="docs", config=config) as index:
        index.add(tree)
    assert str(tmp_path) not in json.dumps(server.client().get_collection("docs").config.metadata)
    elsewhere = load_config(
        environ={
            "VECLOOM_CONFIG": str(tiny_home / "config.toml"),
            "VECLOOM_DATA_DIR": str(tmp_path / "another machine"),
            "VECLOOM_CACHE_DIR": str(tiny_home / "cache"),
            "QDRANT_API_KEY": KEY,
        }
    )
    asked = Asked(("minilm", "bm25", "bm42"))
    with Index.prepare(url, asked, collection="docs", config=elsewhere) as index:
        assert index.sources == {"tree": ""} and index.incomplete == ("minilm-attention",)
        report = index.add(tree, source="tree")
        assert dict(report.encoded) == {"minilm-attention": report.points} and not report.new
        assert set(index.status().vectors.values()) == {report.points}


def test_the_command_line_takes_a_url_wherever_it_takes_a_folder(
    url: str,
    tree: Path,
    tmp_path: Path,
    tiny_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**tiny_environ, "QDRANT_API_KEY": KEY, "QDRANT_URL": url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert run(["index", str(tree), "--index", url]) == 0
    assert run(["search", "open connection", "--index", url, "--json"]) == 0
    assert run(["search", "open connection", "--collection", "docs_v5_multi"]) == 0
    assert run(["status", "--collection", "docs_v5_multi"]) == 0
    assert run(["export", "--collection", "docs_v5_multi", "--format", "jsonl", "--out", "points"]) == 0
    assert run(["embed", str(tree), "--out", "pack"]) == 0
    assert run(["load", "pack", "--to", url, "--collection", "loaded", "--alias", "live"]) == 0
    assert run(["search", "open connection", "--collection", "live"]) == 0
    assert run(["index", str(tree), "--index", url, "--rebuild"]) == 2
    assert run(["index", str(tree), "--index", "folder", "--collection", "docs"]) == 2
    assert run(["search", "x", "--collection", "nothing"]) == 1
    out, err = capfd.readouterr()
    assert KEY not in out + err
    assert "collections/docs_v5_multi" in out and 'vecloom search "..."' in err
    assert "there is no http://" in err
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in files if KEY.encode() in data]


def test_a_key_never_goes_over_plain_http_to_another_machine(tmp_path: Path, config: Config) -> None:
    with pytest.raises(UsageError, match="in plain text; use https"):
        Index.open("http://qdrant.example:6333", config=config)
    with pytest.raises(UsageError, match="in plain text; use https"):
        Index.open("grpc://qdrant.example:6334", config=config)
    with pytest.raises(UsageError, match="no key or password stands in a URL") as error:
        Index.open(f"http://me:{KEY}@localhost:6333", config=config)
    assert KEY not in str(error.value) and KEY not in repr(config)


def test_a_wrong_key_is_said_and_not_shown(url: str, tmp_path: Path, config: Config) -> None:
    with pytest.raises(StoreError, match=r"401|403") as error:
        Index.open(url, config=replace(config, api_key="another"))
    assert "another" not in str(error.value)


def test_a_collection_that_vecloom_did_not_make_is_left_alone(
    url: str, server: Standin, tree: Path, tmp_path: Path, config: Config
) -> None:
    from qdrant_client import models

    server.client().create_collection(
        "theirs", vectors_config={"v": models.VectorParams(size=3, distance=models.Distance.COSINE)}
    )
    with pytest.raises(IndexFormatError, match="was not made by vecloom"):
        Index.open(url, collection="theirs", config=config)
    with pytest.raises(UsageError, match="is there already"):
        Index.create(url, collection="theirs", config=config)
    carry.embed(tmp_path / "pack", tree, config=config)
    with pytest.raises(IndexFormatError, match="was not made by vecloom"):
        carry.load(tmp_path / "pack", url, collection="theirs", config=config)


@pytest.fixture
def pack(tree: Path, tmp_path: Path, config: Config) -> Path:
    carry.embed(tmp_path / "pack", tree, config=config)
    return tmp_path / "pack"


def test_a_load_builds_graphs_at_its_end_and_says_what_differs(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    report = carry.load(pack, url, collection="docs", config=config)
    asked = server.requests(path="^/collections/docs$", method="PATCH")
    info = server.client().get_collection("docs")
    assert info.points_count == report.points and len(asked) >= 2
    assert info.config.optimizer_config.indexing_threshold == 20000
    assert not (info.config.metadata or {}).get("vecloom_bulk")
    before = len(server.requests(path="/points$", method="PUT"))
    again = carry.load(pack, url, collection="docs", config=config)
    assert again.points == again.sent == report.points
    assert len(server.requests(path="/points$", method="PUT")) > before
    with pytest.raises(IndexMismatchError, match="chunk_tokens is 256 here and 64 there"):
        carry.embed(pack.parent / "other", pack.parent / "tree", chunk_tokens=64, config=config)
        carry.load(pack.parent / "other", url, collection="docs", config=config)


def test_payload_indexes_that_a_killed_load_did_not_make_are_made(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    server.fault("507", method="PUT", path="/index", after=2)
    with pytest.raises(StoreError, match="507"):
        carry.load(pack, url, collection="docs", config=config)
    assert len(server.client().get_collection("docs").payload_schema) == 2
    carry.load(pack, url, collection="docs", config=config)
    assert set(server.client().get_collection("docs").payload_schema) == set(INDEXED_KEYS)


def test_an_alias_is_switched_once_the_new_collection_is_whole(
    url: str, server: Standin, pack: Path, tree: Path, config: Config
) -> None:
    said: list[str] = []
    carry.load(pack, url, alias="live", config=config, notice=said.append)
    (tree / "new.md").write_text("# New\n\nA heddle.\n", "utf-8")
    carry.embed(pack, tree, config=config)
    server.fault("500", times=10_000, method="PUT", path="/points")
    with pytest.raises(StoreError, match="500"):
        carry.load(pack, url, alias="live", config=config, notice=said.append)
    server.forget()
    with Index.open(url, collection="live", config=config) as index:
        assert index.search("heddle", using=["bm25"]) == []
    carry.load(pack, url, alias="live", config=config, notice=said.append)
    with Index.open(url, collection="live", config=config) as index:
        assert index.search("heddle", using=["bm25"])[0].path == "new.md"
    assert len(said) == 1 and "live meant live-" in said[0]
    assert len(server.client().get_collections().collections) == 2


FAULTS: Mapping[str, dict[str, Any]] = {
    "refused": {},
    "cut": {},
    "stalled": {"seconds": 0.2},
    "unanswered": {},
    "halved": {},
    "429": {"retry_after": 1},
    "500": {},
    "503": {},
    "504": {},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_fails_for_the_moment_is_sent_again(
    url: str, server: Standin, pack: Path, config: Config, kind: str
) -> None:
    carry.load(pack, url, collection="clean", config=config)
    for after in (0, 1, 3):
        server.fault(kind, after=after, method="PUT", path="/points", **FAULTS[kind])
    server.fault(kind, path="/points/count", **FAULTS[kind])
    carry.load(pack, url, collection="docs", config=config)
    assert differing(server) == []
    assert [one.fault for one in server.requests() if one.fault] == [kind] * 4


def test_a_server_that_says_when_is_not_asked_before(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    server.fault("503", method="PUT", path="/points", retry_after=1)
    started = time.monotonic()
    carry.load(pack, url, collection="docs", config=config)
    assert time.monotonic() - started > 1.0


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_was_never_there_is_said_soon(
    config: Config, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 60.0)
    monkeypatch.setattr(connection, "SHORT_PATIENCE", 0.3)
    started = time.monotonic()
    with pytest.raises(StoreError, match="see to the server, then run again"):
        Index.open(f"{scheme}://127.0.0.1:9", config=config)
    assert time.monotonic() - started < 30.0


@pytest.mark.parametrize("url", ["http://host:99999", "http://host:abc", "http://[::1", "http://"])
def test_what_is_no_url_is_one_line(config: Config, url: str) -> None:
    with pytest.raises(UsageError, match="give http://HOST:6333"):
        Index.open(url, config=config)


def test_a_collection_whose_creation_was_not_answered_is_ours(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    server.fault("unanswered", method="PUT", path="^/collections/docs$")
    assert carry.load(pack, url, collection="docs", config=config).points
    assert len(server.requests(method="PUT", path="^/collections/docs$")) == 2


def test_metadata_of_other_types_are_refused(url: str, server: Standin, pack: Path, config: Config) -> None:
    carry.load(pack, url, collection="docs", config=config)
    said = server.client().get_collection("docs").config.metadata or {}
    server.client().update_collection("docs", metadata={"vecloom": {**said["vecloom"], "profile": "zzz"}})
    with pytest.raises(IndexFormatError, match="profile"):
        Index.open(url, collection="docs", config=config)


def test_an_alias_that_is_a_collection_is_refused_before_anything_is_sent(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    carry.load(pack, url, collection="docs", config=config)
    server.forget()
    with pytest.raises(UsageError, match="docs is a collection, and no alias"):
        carry.load(pack, url, alias="docs", config=config)
    assert not server.requests(method="PUT")


def test_a_request_that_is_too_large_is_sent_in_halves(
    url: str, server: Standin, pack: Path, config: Config
) -> None:
    carry.load(pack, url, collection="clean", config=config)
    server.fault("413", times=3, method="PUT", path="/points")
    carry.load(pack, url, collection="docs", config=config)
    assert differing(server) == []


def test_a_server_that_stays_away_is_reported_and_the_next_load_goes_on(
    url: str, server: Standin, pack: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    carry.load(pack, url, collection="clean", config=config)
    server.fault("503", times=10_000, after=4, method="PUT", path="/points")
    with pytest.raises(StoreError, match=r"503.*see to the server, then run again"):
        carry.load(pack, url, collection="docs", config=config)
    server.forget()
    with Index.open(url, collection="docs", config=config) as index:
        assert index.unfinished == ("tree",)
    report = carry.load(pack, url, collection="docs", config=config)
    assert report.sent < report.points
    assert differing(server) == []
    server.down(0.5)
    monkeypatch.setattr(connection, "PATIENCE", 5.0)
    carry.load(pack, url, collection="docs", config=config)


def test_an_index_run_outlives_faults_too(url: str, server: Standin, tree: Path, config: Config) -> None:
    with Index.create(url, collection="clean", config=config) as index:
        index.add(tree)
    with Index.create(url, collection="docs", config=config) as index:
        for kind in ("unanswered", "500", "refused"):
            server.fault(kind, method="PUT", path="/points", after=1)
            server.fault(kind, path="/points/scroll")
        index.add(tree)
        assert index.search("open connection")
    assert differing(server) == []


def test_points_that_somebody_deleted_are_sent_again(
    url: str, server: Standin, pack: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdrant_client import models

    carry.load(pack, url, collection="clean", config=config)
    server.fault("503", times=10_000, after=3, method="PUT", path="/points")
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    with pytest.raises(StoreError):
        carry.load(pack, url, collection="docs", config=config)
    server.forget()
    server.client().delete("docs", models.FilterSelector(filter=models.Filter()))
    carry.load(pack, url, collection="docs", config=config)
    assert differing(server) == []


def test_vectors_that_are_not_the_packs_are_found(
    url: str, server: Standin, pack: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert = ClientStore.upsert

    def spoilt(self: ClientStore, points: Any) -> None:
        turned = np.roll(points.vectors["qdrant-minilm"], 1, axis=1)
        upsert(self, replace(points, vectors={**points.vectors, "qdrant-minilm": turned}))

    monkeypatch.setattr(ClientStore, "upsert", spoilt)
    with pytest.raises(StoreError, match=r"'qdrant-minilm' of .* is not the pack's"):
        carry.load(pack, url, collection="docs", config=config)


def test_points_under_other_ids_are_found(
    url: str, pack: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert = ClientStore.upsert

    def strayed(self: ClientStore, points: Points) -> None:
        upsert(self, replace(points, ids=[str(uuid.uuid4()), *points.ids[1:]]))

    monkeypatch.setattr(ClientStore, "upsert", strayed)
    with pytest.raises(StoreError, match=r"lacks points of 00000-2\.parquet"):
        carry.load(pack, url, collection="docs", config=config)


def test_the_v5_profile_reaches_the_server(url: str, server: Standin, pack: Path, config: Config) -> None:
    carry.load(pack, url, collection="docs", profile="v5", config=config)
    found = server.client().get_collection("docs").config
    assert (found.hnsw_config.m, found.hnsw_config.ef_construct) == (48, 512)
    assert found.quantization_config is not None
    with Index.open(url, collection="docs", config=config) as index:
        assert index.search("open connection") and index._load().profile == "v5"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.timeout(900)
def test_kills_of_a_load_to_a_server_end_in_what_a_clean_one_stores(
    url: str,
    server: Standin,
    pack: Path,
    tree: Path,
    tmp_path: Path,
    tiny_environ: dict[str, str],
    config: Config,
) -> None:
    from commands import Commands
    from test_kill_packs import LIMITS, Killed

    rng = random.Random(5)
    environ = Commands({**tiny_environ, "QDRANT_API_KEY": KEY}, tmp_path).environ
    killed = Killed(tmp_path, environ, rng, {**LIMITS, "stores.client_terms.REQUEST_POINTS": 8})
    clean = carry.load(pack, url, collection="clean", config=config)
    arguments: list[str | Path] = ["load", pack, "--to", url, "--collection", "docs"]
    assert killed.run(arguments, lambda: True, None)[0] == 0
    server.client().delete_collection("docs")
    took = killed.run(arguments, server.client().get_collections, None)[1]  # type: ignore[arg-type]
    kills = 0
    while kills < 50:
        server.client().delete_collection("docs")
        for _ in range(5):
            moment = took * rng.random()
            while (code := killed.run(arguments, lambda: True, moment)[0]) != -signal.SIGKILL:
                assert code == 0
                server.client().delete_collection("docs")
                moment *= 0.8
            kills += 1
        assert killed.run(arguments, lambda: True, None)[0] == 0
        assert differing(server) == []
    assert clean.points == len(held(server, "docs"))


def test_the_manifest_of_a_collection_is_the_folders_but_for_roots(
    url: str, tree: Path, tmp_path: Path, config: Config
) -> None:
    made: list[Manifest] = []
    for place, collection in ((tmp_path / "index", None), (url, "docs")):
        with Index.create(place, collection=collection, config=config) as index:
            index.add(tree)
            made.append(index._load())
    folder, server = made
    assert folder.models == server.models and folder.sources == server.sources
    assert folder.counted_by == server.counted_by and folder.chunk_tokens == server.chunk_tokens


@pytest.fixture
def wordless(tree: Path) -> Path:
    """A tree with records whose texts hold no word, which some models give no term."""
    texts = ["???", "!!! ---", "the of and", "shuttle and heddle"]
    lines = [json.dumps({"_id": str(i), "text": text}) for i, text in enumerate(texts)]
    (tree / "records.jsonl").write_text("\n".join(lines), "utf-8")
    return tree


def test_texts_without_a_word_are_done_on_every_store(place: Place, wordless: Path, tmp_path: Path) -> None:
    records = wordless / "records.jsonl"
    for where, collection in ((tmp_path / "index", None), (place.url, place.name)):
        with Index.create(where, ("minilm",), collection=collection, config=place.config) as index:
            index.add(records, wordless)
        asked = Asked(("minilm", "bm25", "bm25-code", "bm42"))
        with Index.prepare(where, asked, collection=collection, config=place.config) as index:
            report = index.add(records, wordless)
            assert index.incomplete == ()
            status = index.status()
            assert set(status.vectors.values()) == {status.points} == {report.points}
            again = index.add(records, wordless)
            assert not again.encoded and again.unchanged == again.files
            assert "heddle" in index.search("heddle", using=["bm25"])[0].text
            twin = index.add(shutil.copytree(wordless, tmp_path / f"twin of {collection}"))
            assert twin.reused and not twin.encoded and index.incomplete == ()
            index.remove(f"twin of {collection}")
    out = {name: tmp_path / f"{name}.jsonl" for name in ("folder", "server")}
    carry.export(tmp_path / "index", "jsonl", out["folder"], config=place.config)
    carry.export(place.url, "jsonl", out["server"], collection=place.name, config=place.config)
    mine, theirs = (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in out.values()
    )
    assert [(one["id"], one["payload"]) for one in mine] == [(one["id"], one["payload"]) for one in theirs]
    assert any(one["vector"]["bm25"]["indices"] == [] for one in mine)
    assert all("empty_vectors" not in one["payload"] for one in mine)
    assert [one["vector"].keys() for one in mine] == [one["vector"].keys() for one in theirs]


def test_a_pack_with_texts_without_a_word_is_loaded_everywhere(
    place: Place, wordless: Path, tmp_path: Path
) -> None:
    records = wordless / "records.jsonl"
    for where, collection in ((tmp_path / "index", None), (place.url, place.name)):
        for models in (("minilm", "bm42"), ("minilm", "bm25")):  # the second adds a vector to stored points
            pack = tmp_path / f"pack-{models[1]}"
            carry.embed(pack, records, models=models, config=place.config)
            carry.load(pack, where, collection=collection, config=place.config)
            carry.load(pack, where, collection=collection, config=place.config)
        with Index.open(where, collection=collection, config=place.config) as index:
            assert index.incomplete == () and set(index.status().vectors.values()) == {4}


STRICT: dict[str, dict[str, Any]] = {
    "limit": {"max_query_limit": 10},
    "exact": {"search_allow_exact": False},
    "unindexed": {"unindexed_filtering_retrieve": False, "unindexed_filtering_update": False},
}
STRICT["all"] = {key: value for one in STRICT.values() for key, value in one.items()}


@pytest.mark.parametrize("name", STRICT)
def test_everything_works_in_strict_mode(name: str, wordless: Path, tmp_path: Path, config: Config) -> None:
    carry.embed(tmp_path / "pack", wordless, config=config)
    with Standin(api_key=KEY, strict={"enabled": True, **STRICT[name]}) as strict:
        url = strict.url
        with Index.create(url, ("minilm", "bm25"), collection="docs", config=config) as index:
            points = index.add(wordless).points
        with Index.prepare(url, Asked(("minilm", "bm25", "bm42")), collection="docs", config=config) as index:
            index.add(wordless)
            (wordless / "new.md").write_text("# New\n\nA heddle.\n", "utf-8")
            (wordless / "records.jsonl").unlink()
            report = index.add(wordless)
            assert report.new == 1 and report.deleted >= 1
            status = index.status()
            assert status.points == report.points == sum(count for _, count in status.sources.values())
            assert set(status.vectors.values()) == {report.points} and status.incomplete == ()
            assert index.search("heddle")[0].path == "new.md"
            assert index.search("open connection", limit=50, per_file=5, explain=True)
            assert index.search("heddle", filters={"path": "*.md", "kind": "prose"})[0].path == "new.md"
            assert len(index.files()) >= 1
        assert carry.export(url, "jsonl", tmp_path / "out", collection="docs", config=config) == report.points
        loaded = carry.load(tmp_path / "pack", url, collection="loaded", alias="live", config=config)
        assert loaded.points == points
        carry.load(tmp_path / "pack", url, collection="loaded", config=config)
        with Index.open(url, collection="live", config=config) as index:
            assert index.search("open connection") and index.remove("tree") == points
            assert index.status().points == 0


def test_a_token_does_what_the_server_allows(wordless: Path, tmp_path: Path, config: Config) -> None:
    tokens: dict[str, TokenAccess] = {
        "token-reads": [{"collection": "docs", "access": "r"}],
        "token-writes": [{"collection": "docs", "access": "rw"}],
        "token-reads-all": "r",
        "token-elsewhere": [{"collection": "other", "access": "rw"}],
    }
    carry.embed(tmp_path / "pack", wordless, config=config)
    with Standin(api_key=KEY, tokens=tokens) as server:
        with Index.create(server.url, collection="docs", config=config) as index:
            points = index.add(wordless).points
        (wordless / "new.md").write_text("# New\n\nA heddle.\n", "utf-8")
        manifest = server.client().get_collection("docs").config.metadata
        for token in ("token-reads", "token-writes", "token-reads-all"):
            given = replace(config, api_key=token)
            with Index.open(server.url, collection="docs", config=given) as index:
                assert index.search("open connection") and index.status().points == points
                exported = carry.export(
                    server.url, "jsonl", tmp_path / f"{token}.jsonl", collection="docs", config=given
                )
                assert exported == points
            writes: list[Callable[[Config], object]] = [
                lambda given: add(server.url, wordless, given),
                lambda given: remove(server.url, given),
                lambda given: carry.load(tmp_path / "pack", server.url, collection="docs", config=given),
            ]
            for write in writes:
                with pytest.raises(StoreError) as refused:
                    write(given)
                said = str(refused.value)
                assert "403 (Forbidden: Global" in said and "\n" not in said and token not in said
                assert "; writing the manifest into the collection's metadata needs manage access" in said
                assert said.endswith("set QDRANT_API_KEY to one that has it")
        given = replace(config, api_key="token-writes")
        server.forget()
        with pytest.raises(
            StoreError, match=r"listing the collections, for --alias, needs access to the whole"
        ):
            carry.load(tmp_path / "pack", server.url, alias="live", config=given)
        given = replace(config, api_key="token-elsewhere")
        with pytest.raises(StoreError, match=r'reading the collection needs read access \("r"\) to it'):
            Index.open(server.url, collection="docs", config=given)
        with pytest.raises(
            StoreError, match=r'making a collection needs manage access \("m"\) to the server'
        ):
            Index.create(server.url, collection="other", config=given)
        with pytest.raises(StoreError, match=r'writing points needs read and write access \("rw"\)'):
            store = ClientStore.open(connection.connect(server.url, "token-reads"), "docs")
            assert store is not None
            store.delete(ids=[str(uuid.uuid4())])
        assert server.client().count("docs").count == points
        assert server.client().get_collection("docs").config.metadata == manifest
        allowed = server.requests(path="^/(aliases|collections)$")
        assert {one.status for one in allowed} == {403}  # asked only for an alias


def add(url: str, tree: Path, config: Config) -> None:
    with Index.prepare(url, Asked(), collection="docs", config=config) as index:
        index.add(tree)


def remove(url: str, config: Config) -> None:
    with Index.open(url, collection="docs", config=config) as index:
        index.remove("tree")
