"""What is the address of a server, what a folder, and what is refused before anything is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Vecloom
from vecloom import carry
from vecloom.config import Config
from vecloom.errors import UsageError
from vecloom.index import Index
from vecloom.pipeline.places import folder_of, is_url, require_url
from vecloom.recipe import Asked

SERVERS = {
    "localhost:6333": "http://localhost:6333",
    "localhost": "http://localhost",
    "127.0.0.1": "http://127.0.0.1",
    "10.0.0.7/qdrant": "http://10.0.0.7/qdrant",
    "host.domain:6333/x": "http://host.domain:6333/x",
    "[::1]:6333": "http://[::1]:6333",
    "HTTP://127.0.0.1:6333": "http://127.0.0.1:6333",
    "Https://host": "https://host",
    "GRPC://host:6334": "grpc://host:6334",
    "qdrant://h:1": "http://h:1",
    "ftp://h/x": "http://h/x",
    "//host": "http://host",
    "//host:6333/x": "http://host:6333/x",
    "http:/host:6333": "http://host:6333",
    "https:host": "https://host",
    "http//host:6333": "http://host:6333",
    " http://host:6333": "http://host:6333",
    "name:sekret@host:6333": "http://host:6333",
    "qdrant://name:sekret@host:6333": "http://host:6333",
    "qdrant://host:6333?api-key=sekret": "http://host:6333",
}


@pytest.mark.parametrize("place", SERVERS)
def test_what_looks_like_a_server_is_refused_and_makes_no_folder(
    place: str, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[Callable[[], Any]] = [
        lambda: Index.create(place, ("bm25",), config=tiny_config),
        lambda: Index.open(place, config=tiny_config),
        lambda: Index.prepare(place, Asked(), config=tiny_config),
        lambda: Index.rebuild(place, Asked(), tmp_path, config=tiny_config),
        lambda: carry.export(place, "jsonl", tmp_path / "out", config=tiny_config),
    ]
    for call in calls:
        with pytest.raises(UsageError) as refused:
            call()
        said = str(refused.value)
        assert f"give {SERVERS[place]}, or ./" in said and "\n" not in said and "sekret" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place",
    [
        "my-index",
        "./localhost:6333",
        "a/b:12",
        "http",
        "qdrant",
        "x:y",
        "host.domain/x",
        "C:\\x",
        "C:/x",
        "///a",
    ],
)
def test_what_is_a_folder(place: str) -> None:
    assert not is_url(place) and folder_of(place) == Path(place).absolute()


@pytest.mark.skipif(os.name == "nt", reason="no colon in the names of Windows")
@pytest.mark.parametrize("name", ["localhost:6333", "localhost", "http:x"])
def test_a_folder_that_is_there_stays_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert not is_url(name) and folder_of(name) == tmp_path / name
    assert not is_url(Path("other:6333"))


def test_a_path_that_was_put_together_is_a_folder(tmp_path: Path) -> None:
    assert not is_url(f"/{tmp_path}/new")


def test_the_home_folder_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert not is_url("~/x") and folder_of("~/x") == tmp_path / "home" / "x"
    (tmp_path / "~" / "x").mkdir(parents=True)
    assert folder_of("~/x") == tmp_path / "~" / "x"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:6333", "HTTP://127.0.0.1:6333", "qdrant", "u:sekret@127.0.0.1:6333"]
)
def test_a_server_of_the_settings_is_a_url(
    url: str, vecloom: Vecloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_URL", url)
    done = vecloom("search", "x", "--collection", "c")
    host = url.rpartition("@")[2].rpartition("/")[2]
    assert done.code == 2 and done.err.startswith("vecloom: QDRANT_URL or [server] url = ")
    assert done.err.endswith(f"is no URL; give http://{host}") and "sekret" not in done.err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("QDRANT_URL", " http://127.0.0.1:9/x\r\n")
    assert "127.0.0.1:9/x" in vecloom("search", "x", "--collection", "c").err
    assert require_url("grpcs://host", "QDRANT_URL") == "grpcs://host"
