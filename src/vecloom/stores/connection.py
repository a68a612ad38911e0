"""A Qdrant server: how it is reached, and how long it is asked again.

Importing this module loads qdrant-client (some 750 ms): import it where a server is asked.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from vecloom.errors import MissingExtraError, StoreError, UsageError

try:
    import grpc
    from qdrant_client import QdrantClient
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
except ImportError as error:
    raise MissingExtraError("a Qdrant server", "server") from error

T = TypeVar("T")

#: Seconds that one request may take, and for which one that fails is sent again.
TIMEOUT = 60
PATIENCE = 120.0

#: The same for a server that has not answered yet, and where somebody waits for the answer.
SHORT_PATIENCE = 5.0

#: Seconds between two tries, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0

#: Answers of a server that is busy, or of what stands before it, after which the same may go well.
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})

_GRPC_TRY_AGAIN = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED"})

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class NoCollectionError(StoreError):
    """The server has no collection of that name."""


class TooLargeError(StoreError):
    """The server takes no request of this size."""


def connect(url: str, api_key: str | None = None) -> QdrantClient:
    """A client of the server at ``http://``, ``https://``, ``grpc://`` or ``grpcs://``; nothing is sent yet.

    Raises:
        UsageError: no host, or a key that would go over plain http to another machine.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{url.rpartition('@')[2]!r} is no URL ({error}); give http://HOST:6333") from None
    if not parts.hostname:
        raise UsageError(f"{shown(url)} names no host; give http://HOST:6333")
    if parts.username or parts.password or parts.query:
        raise UsageError(f"{shown(url)}: no key or password stands in a URL; set QDRANT_API_KEY")
    safe = parts.scheme in ("https", "grpcs")
    if api_key and not safe and parts.hostname not in _LOOPBACK:
        raise UsageError(f"the API key would go to {shown(url)} in plain text; use https")
    over_grpc = parts.scheme.startswith("grpc")
    place: dict[str, Any] = {"url": url}
    if over_grpc:
        place = {"host": parts.hostname, "grpc_port": parts.port or 6334, "https": safe, "prefer_grpc": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
        return QdrantClient(**place, api_key=api_key, timeout=TIMEOUT, check_compatibility=False)


def shown(url: str) -> str:
    """A URL without what could be a secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path.rstrip('/')}"


def asked(where: str, function: Callable[..., T], patience: float, **arguments: Any) -> T:
    """Call the client; what fails for the moment is tried again, for ``patience`` seconds.

    Only for what may be done twice. The client's two modes raise ValueError (local) and its own (server).

    Raises:
        NoCollectionError: the server has no such collection.
        TooLargeError: the server takes no request of this size.
        StoreError: it refuses, or it did not answer in all that time.
    """
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return function(**arguments)
        except (ResponseHandlingException, UnexpectedResponse, QdrantException) as error:
            wait, said, cause = _pause_asked(error), _said(error), error
        except grpc.RpcError as error:
            wait, said, cause = _grpc_pause(error), _grpc_said(error), error
        except ValueError as error:
            gone = str(error).endswith("not found")
            raise (NoCollectionError if gone else StoreError)(f"{where}: {_line(error)}") from error
        if wait is None:
            raise _refusal(cause)(f"{where}: {said}") from cause
        now = time.monotonic()
        if now >= deadline:
            raise StoreError(
                f"{where}: {said}, for {patience:.0f} s; see to the server, then run again"
            ) from cause
        time.sleep(min(max(wait, pause), deadline - now))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _pause_asked(error: Exception) -> float | None:
    """Seconds to wait before the next try at the least; None where another try would be no use."""
    if isinstance(error, ResourceExhaustedResponse):
        return float(error.retry_after_s)
    if isinstance(error, UnexpectedResponse):
        return _retry_after(error) if error.status_code in _TRY_AGAIN else None
    return 0.0  # no answer, or a busy server whose date the client does not read


def _retry_after(error: UnexpectedResponse) -> float:
    said = str(error.headers.get("Retry-After", ""))
    return float(said) if said.isdecimal() else 0.0


def _refusal(error: Exception) -> type[StoreError]:
    """What a refusal means. Qdrant itself answers 400 to what is too large; what stands before it, 413."""
    if isinstance(error, UnexpectedResponse):
        if error.status_code == 413 or (error.status_code == 400 and b"larger than allowed" in error.content):
            return TooLargeError
        return NoCollectionError if error.status_code == 404 else StoreError
    return NoCollectionError if isinstance(error, grpc.RpcError) and _is_missing(error) else StoreError


def _is_missing(error: grpc.RpcError) -> bool:
    return bool(error.code().name == "NOT_FOUND")


def _said(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"the server answered {error.status_code} ({_reason(error)})"
    if isinstance(error, ResponseHandlingException):
        return f"no good answer ({type(error.source).__name__}: {_line(error.source)})"
    return f"the server is busy ({_line(error)})"


def _reason(error: UnexpectedResponse) -> str:
    """What the server says in its own form, else the beginning of its answer."""
    try:
        said = error.structured()["status"]["error"]
    except (ValueError, KeyError, TypeError):
        said = error.content.decode("utf-8", "replace") or error.reason_phrase
    return " ".join(str(said).split())[:300]


def _grpc_pause(error: grpc.RpcError) -> float | None:
    return 0.0 if error.code().name in _GRPC_TRY_AGAIN else None


def _grpc_said(error: grpc.RpcError) -> str:
    return f"the server answered {error.code().name} ({_line(error.details())})"


def _line(said: object) -> str:
    return " ".join(str(said).split())[:300]
