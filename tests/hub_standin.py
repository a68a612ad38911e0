"""A small hub on loopback that speaks what huggingface_hub asks, faults included."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass
class Hub:
    """Repositories by id: branches -> commits -> files. What is asked of it is counted."""

    url: str = ""
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    commits: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    #: The next so many bodies of a file: cut in the middle, or with a flipped byte.
    cut: Counter[str] = field(default_factory=Counter)
    flipped: Counter[str] = field(default_factory=Counter)
    #: Status and X-Error-Code of every answer, instead of an answer.
    refusal: tuple[int, str] | None = None
    #: What every listing names as the commit, instead of the commit.
    said_commit: object = None
    #: What every listing names as its files, instead of the files.
    said_files: object = None
    #: While it is clear, no answer (or no second half of a body) is given.
    going: threading.Event = field(default_factory=threading.Event)
    holds_bodies: bool = False
    body_begun: threading.Event = field(default_factory=threading.Event)
    gets: Counter[str] = field(default_factory=Counter)
    tokens: set[str | None] = field(default_factory=set)

    def publish(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put a commit on a branch and give its id."""
        commit = hashlib.sha1(json.dumps(sorted((n, b.hex()) for n, b in files.items())).encode()).hexdigest()
        self.branches.setdefault(repo, {})[branch] = commit
        self.commits[repo, commit] = dict(files)
        return commit

    def files(self, repo: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        """The commit that a revision means and its files, or None."""
        commit = self.branches.get(repo, {}).get(revision or "main", revision or "")
        files = self.commits.get((repo, commit))
        return None if files is None else (commit, files)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    hub.going.set()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.going.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub = self.hub
        hub.tokens.add(self.headers.get("Authorization"))
        if not hub.holds_bodies:
            hub.going.wait()
        path = unquote(urlsplit(self.path).path)
        asked = _API.fullmatch(path) or _FILE.fullmatch(path)
        if hub.refusal or asked is None or asked["repo"] not in hub.branches:
            return self._refuse(*(hub.refusal or (404, "RepoNotFound")))
        found = hub.files(asked["repo"], asked["revision"])
        if found is None:
            return self._refuse(404, "RevisionNotFound")
        commit, files = found
        if asked.re is _API:
            return self._listing(asked["repo"], commit, files)
        if asked["name"] not in files:
            return self._refuse(404, "EntryNotFound")
        return self._file(asked["name"], commit, files[asked["name"]], body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _listing(self, repo: str, commit: str, files: dict[str, bytes]) -> None:
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                **(
                    {"lfs": {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}}
                    if name.endswith(".safetensors")
                    else {}
                ),
            }
            for name, data in files.items()
        ]
        answer = json.dumps(
            {"id": repo, "sha": self.hub.said_commit or commit, "siblings": self.hub.said_files or siblings}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _file(self, name: str, commit: str, data: bytes, body: bool) -> None:
        hub = self.hub
        etag = _sha256(data)
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        hub.gets[name] += 1
        half = (start + len(data)) // 2
        if hub.flipped[name]:
            hub.flipped[name] -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.wfile.write(data[start:half])
        if hub.cut[name]:
            hub.cut[name] -= 1
            self.close_connection = True
            return
        if hub.holds_bodies:
            self.wfile.flush()
            hub.body_begun.set()
            hub.going.wait()
        self.wfile.write(data[half:])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
