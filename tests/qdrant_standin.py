"""A stand-in for a Qdrant server, in a process of its own, that can be told to fail.

It speaks the REST API that qdrant-client 1.20 uses (but for snapshots, shards and clusters) over
`qdrant_operations`. `Standin` starts one for a test; by hand: ``python tests/qdrant_standin.py --port 6333``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic_core import to_json
from qdrant_client import QdrantClient

import vecloom
from qdrant_operations import Qdrant, RefusedError, TokenAccess
from vecloom.processes import die_with

#: What a server takes in a request by default, in bytes.
MAX_BODY = 32 << 20

#: Faults by name; besides them any status from 400 on, as text, answered instead of the operation.
KINDS = {
    "refused": "closed before the body is read, without a byte",
    "cut": "closed when half of the body is read",
    "stalled": "read, held for `seconds`, closed without a byte; not applied",
    "slow": "applied, answered after `seconds`",
    "unanswered": "applied, closed without a byte",
    "halved": "applied, closed in the middle of the answer",
    "yellow": "applied; a collection's information says that its optimiser is at work",
}

#: No answer at all.
_SILENT = {"refused", "cut", "stalled", "unanswered"}

_STATUSES = {str(status.value) for status in HTTPStatus if status >= 400}

#: What needs no key.
_OPEN = {"/", "/healthz", "/livez", "/readyz"}


@dataclass(slots=True)
class Fault:
    """What happens to ``times`` requests that match, after ``after`` of them went well.

    ``kind``: see `KINDS`. ``method`` and ``path`` are regular expressions, searched for; the default path
    spares a client's question for the version. ``retry_after``, in seconds, goes with a status.
    """

    kind: str
    times: int = 1
    after: int = 0
    method: str = ""
    path: str = "/collections"
    seconds: float = 0.0
    retry_after: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind not in _STATUSES:
            raise ValueError(f"no fault is called {self.kind!r}: take a status or one of {', '.join(KINDS)}")


@dataclass(slots=True)
class Request:
    """A request that came: ``size`` is its body's, in bytes.

    ``status``: of the whole answer; None where none was sent, or is not yet.
    """

    method: str
    path: str
    query: str
    size: int
    api_key: bool
    fault: str | None = None
    status: int | None = None


class Service:
    """What the connections share: the collections, the key, the limits, faults to come, requests seen."""

    def __init__(
        self,
        api_key: str | None,
        max_body: int,
        too_large: int,
        tokens: Mapping[str, TokenAccess],
        strict: Mapping[str, Any] | None,
    ) -> None:
        self.qdrant = Qdrant(strict)
        self.api_key = api_key
        self.tokens = tokens
        self.max_body = max_body
        self.too_large = too_large
        self.faults: list[Fault] = []
        self.seen: list[Request] = []
        self.down_for = 0.0
        self.lock = Lock()

    def arrived(self, request: Request) -> Fault | None:
        """Note a request; the fault that is due to it."""
        with self.lock:
            self.seen.append(request)
            due = None
            for fault in [one for one in self.faults if _matches(one, request)]:
                if fault.after:
                    fault.after -= 1
                elif due is None:
                    due = fault
                    fault.times -= 1
            self.faults = [one for one in self.faults if one.times]
        if due is not None:
            request.fault = due.kind
        return due

    def answer(self, request: Request, key: str | None, body: bytes) -> tuple[int, bytes]:
        """Do what a request asks for: a status and a body."""
        access = self.tokens.get(key or "")
        if access is None and self.api_key not in (None, key) and request.path not in _OPEN:
            missing = "Must provide an API key or an Authorization bearer token"
            return 401, (missing if key is None else "Invalid API key or JWT").encode()
        if len(body) > self.max_body:
            sizes = f"({len(body)} bytes) is larger than allowed (limit: {self.max_body} bytes)"
            return self.too_large, _error(f"Payload error: JSON payload {sizes}.")
        if request.path in _OPEN:
            return 200, to_json(self.qdrant.version())
        started = time.perf_counter()
        wait = parse_qs(request.query).get("wait") == ["true"]
        try:
            result = self.qdrant.call(request.method, request.path, wait, body, access or "m")
        except RefusedError as refused:
            return refused.status, _error(str(refused))
        if request.fault == "yellow" and isinstance(result, dict):
            result = {**result, "status": "yellow"}
        return 200, to_json({"result": result, "status": "ok", "time": time.perf_counter() - started})


def _matches(fault: Fault, request: Request) -> bool:
    return bool(re.search(fault.method, request.method) and re.search(fault.path, request.path))


def _error(message: str) -> bytes:
    return to_json({"status": {"error": message}, "time": 0.0})


class Server(ThreadingHTTPServer):
    """A thread for each connection; a client that is gone is no error."""

    request_queue_size = 128

    def __init__(self, port: int, service: Service) -> None:
        self.service = service
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, lets happen what is due to it, answers."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *arguments: Any) -> None:
        """Keep quiet."""

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        size = int(self.headers["Content-Length"] or 0)
        if self.server.fileno() < 0:  # it went down since this connection was opened
            self.close_connection = True
        elif path.startswith("/_"):
            self._send(200, to_json(self._control(path, self.rfile.read(size))))
        else:
            self._operate(Request(self.command, path, query, size, self._key() is not None))

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _operate(self, request: Request) -> None:
        service = self.server.service
        fault = service.arrived(request) or Fault("slow")
        share = {"refused": 0, "cut": request.size // 2}.get(fault.kind, request.size)
        body = self.rfile.read(share)
        self.close_connection = fault.kind in _SILENT or len(body) < request.size
        if fault.kind in ("refused", "cut") or len(body) < request.size:
            return  # who died in the middle of a body has asked nothing
        status, answer = 0, b""
        if fault.kind in _STATUSES:
            status, answer = int(fault.kind), _error(HTTPStatus(int(fault.kind)).phrase)
        elif fault.kind != "stalled":
            status, answer = service.answer(request, self._key(), body)
        time.sleep(fault.seconds)
        if fault.kind not in _SILENT:
            self._send(status, answer, fault)
            request.status = None if fault.kind == "halved" else status

    def _key(self) -> str | None:
        bearer = self.headers["Authorization"] or ""
        return self.headers["api-key"] or (bearer[7:] if bearer.startswith("Bearer ") else None)

    def _send(self, status: int, answer: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if status == 401 else "application/json")
        self.send_header("Content-Length", str(len(answer)))
        if fault is not None and fault.retry_after is not None:
            self.send_header("Retry-After", str(fault.retry_after))
        self.end_headers()
        if fault is not None and fault.kind == "halved":
            answer = answer[: len(answer) // 2]
            self.close_connection = True
        self.wfile.write(answer)

    def _control(self, path: str, body: bytes) -> Any:
        """Do what a test asks of the stand-in itself."""
        service = self.server.service
        with service.lock:
            match self.command, path:
                case "GET", "/_requests":
                    return [asdict(one) for one in service.seen]
                case "DELETE", "/_requests":
                    service.seen = []
                case "POST", "/_faults":
                    service.faults.append(Fault(**json.loads(body)))
                case "DELETE", "/_faults":
                    service.faults = []
                case "POST", "/_down":
                    service.down_for = json.loads(body)["seconds"]
                    self.server.shutdown()
                    self.server.server_close()
        return True


def main() -> None:
    """Serve until the process ends; the first line of stdout is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    parser.add_argument("--api-key", help="without it none is asked for")
    parser.add_argument("--max-body", type=int, default=MAX_BODY, help="bytes of a request")
    parser.add_argument("--too-large", type=int, default=400, help="status of a larger one; of a proxy: 413")
    parser.add_argument(
        "--tokens", type=json.loads, default={}, help="JSON: token -> its access, as in a JWT"
    )
    parser.add_argument("--strict", type=json.loads, help="JSON: the strict mode of new collections")
    parser.add_argument("--certificate", help="PEM file of a certificate and its key: https")
    parser.add_argument("--parent", type=int, help="the process whose end is this one's")
    asked = parser.parse_args()
    if asked.parent is not None:
        die_with(asked.parent)
    warnings.simplefilter("ignore")  # the memory client warns of what it ignores, and of its size
    service = Service(asked.api_key, asked.max_body, asked.too_large, asked.tokens, asked.strict)
    server = Server(asked.port, service)
    if asked.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(asked.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    while True:
        server.serve_forever(0.05)
        server.server_close()
        time.sleep(service.down_for)
        server = Server(server.server_port, service)


class Standin:
    """A stand-in that runs until the block ends, or this process does.

    ``too_large``: the status of a body above ``max_body`` bytes. A server says 400, a proxy before it 413.
    ``tokens``: further keys, and what they may do. ``strict``: the strict mode of new collections.
    ``certificate``: a PEM file of a certificate and its key, for https.
    """

    def __init__(
        self,
        api_key: str | None = None,
        max_body: int = MAX_BODY,
        too_large: int = 400,
        *,
        tokens: Mapping[str, TokenAccess] | None = None,
        strict: Mapping[str, Any] | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.url = ""
        self._scheme = "http" if certificate is None else "https"
        self.api_key = api_key
        self._arguments = ["--max-body", str(max_body), "--too-large", str(too_large)]
        if api_key is not None:
            self._arguments += ["--api-key", api_key]
        if tokens:
            self._arguments += ["--tokens", json.dumps(tokens)]
        if strict:
            self._arguments += ["--strict", json.dumps(strict)]
        if certificate is not None:
            self._arguments += ["--certificate", str(certificate)]

    def __enter__(self) -> Standin:
        command = [sys.executable, __file__, "--parent", str(os.getpid()), *self._arguments]
        path = os.pathsep.join([str(Path(vecloom.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline()
        if not port:
            raise RuntimeError(f"the stand-in ended with {self._process.wait()}: its stderr says why")
        self.url = f"{self._scheme}://127.0.0.1:{int(port)}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def client(self, timeout: int | None = None) -> QdrantClient:
        """A client of it, with its key; the caller closes it."""
        # As a header, the key brings no warning of plain http.
        headers = {} if self.api_key is None else {"api-key": self.api_key}
        return QdrantClient(url=self.url, timeout=timeout, headers=headers, check_compatibility=False)

    def fault(
        self,
        kind: str,
        times: int = 1,
        *,
        after: int = 0,
        method: str = "",
        path: str = "/collections",
        seconds: float = 0.0,
        retry_after: int | None = None,
    ) -> None:
        """Let a fault happen to the next requests that match; see `Fault`."""
        fault = Fault(kind, times, after, method, path, seconds, retry_after)
        self._ask("POST", "/_faults", asdict(fault))

    def down(self, seconds: float) -> None:
        """Let nobody listen for so long, from now on; what is in flight is still answered."""
        self._ask("POST", "/_down", {"seconds": seconds})

    def requests(self, path: str = "", method: str = "") -> list[Request]:
        """The requests so far, in the order of their coming; regular expressions choose among them."""
        seen = [Request(**one) for one in self._ask("GET", "/_requests")]
        return [one for one in seen if re.search(path, one.path) and re.search(method, one.method)]

    def forget(self) -> None:
        """Forget faults to come and requests seen, but no collection."""
        self._ask("DELETE", "/_faults")
        self._ask("DELETE", "/_requests")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", urlsplit(self.url).port, timeout=30)
        try:
            connection.request(method, path, json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


if __name__ == "__main__":
    main()
