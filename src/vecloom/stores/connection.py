"""A Qdrant server: how it is reached, and how long it is asked again.

Importing this module loads qdrant-client (some 750 ms): import it where a server is asked.
"""

from __future__ import annotations

import os
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from vecloom.config.settings import clean_key
from vecloom.errors import ConfigError, MissingExtraError, StoreError, UsageError
from vecloom.installation import format_install_command
from vecloom.stores.proxy import find_grpc_proxy, find_proxy, hide_password, is_usable

try:
    import grpc
    import httpx
    from qdrant_client import QdrantClient
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
    from qdrant_client.qdrant_remote import QdrantRemote
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

_READING = ("reading the collection", 'read access ("r") to it')
_WRITING = ("writing points", 'read and write access ("rw") to the collection')
_MANAGE = 'manage access ("m") to the server'

#: Method of the client -> what it does for a user, and the access that Qdrant asks for; reads are not listed.
_ACCESS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("upsert", "update_vectors", "delete_vectors", "set_payload", "batch_update_points", "delete"),
        _WRITING,
    ),
    "create_payload_index": ("making an index of a payload key", _WRITING[1]),
    "create_collection": ("making a collection", _MANAGE),
    "update_collection": ("writing the manifest into the collection's metadata", _MANAGE),
    "create_vector_name": ("adding a vector", _MANAGE),
    "get_collections": ("listing the collections, for --alias,", 'access to the whole server ("r" or "m")'),
    "get_aliases": ("listing the aliases", 'access to the whole server ("r" or "m")'),
    "update_collection_aliases": ("switching an alias", _MANAGE),
}


class NoCollectionError(StoreError):
    """The server has no collection of that name."""


class TooLargeError(StoreError):
    """The server takes no request of this size."""


def connect(url: str, api_key: str | None = None, ca: Path | None = None) -> QdrantClient:
    """A client of the server at ``http://``, ``https://``, ``grpc://`` or ``grpcs://``; nothing is sent yet.

    ``ca``: a PEM file of the certificates to trust instead of the public ones.

    Raises:
        UsageError: no host, or a key that would go over plain http to another machine or through a proxy.
        ConfigError: the key cannot be sent, or ``ca`` holds no certificate.
    """
    address = parse_address(url)
    api_key = clean_key(api_key, "the API key (QDRANT_API_KEY)")
    if api_key and not address.is_safe:
        if address.host not in _LOOPBACK:
            raise UsageError(f"the API key would go to {shown(url)} in plain text; use https")
        if address.proxy is not None:
            raise UsageError(
                f"the API key would go through the proxy {hide_password(address.proxy)} in plain text; "
                f"set NO_PROXY={address.host}, or use https"
            )
    options: dict[str, Any] = {"trust_env": False, "proxy": None}
    if address.over_grpc:
        options["grpc_options"] = {"grpc.enable_http_proxy": int(address.proxy is not None)}
        if ca is not None and address.is_safe:
            read_context(ca)
            options["grpc_options"]["root_certificates"] = ca.read_bytes()
    else:
        options["proxy"] = address.proxy
        if address.is_safe:
            options["verify"] = _public_context() if ca is None else read_context(ca)
    if options["proxy"] and not is_usable(options["proxy"]):
        raise UsageError(f"{hide_password(options['proxy'])!r} is no URL of a proxy; see to HTTPS_PROXY")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
            return QdrantClient(
                **address.place, api_key=api_key, timeout=TIMEOUT, check_compatibility=False, **options
            )
    except ImportError as error:
        raise UsageError(
            f"the proxy {hide_password(str(options['proxy']))} needs a package that is not installed: "
            f"{format_install_command(['httpx[socks]'])}, or set NO_PROXY={address.host}"
        ) from error


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests to a server go. ``host``: an IPv6 address is without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_safe(self) -> bool:
        """True if what is sent is encrypted."""
        return self.scheme in ("https", "grpcs")

    @property
    def over_grpc(self) -> bool:
        """True if it is reached by gRPC."""
        return self.scheme.startswith("grpc")

    @property
    def proxy(self) -> str | None:
        """The URL of the proxy on the way, or None."""
        if self.over_grpc:
            return find_grpc_proxy(self.host, self.port)
        return find_proxy(self.scheme, self.host, self.port)

    @property
    def place(self) -> dict[str, Any]:
        """What the client takes for it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.over_grpc:
            return {"host": host, "grpc_port": self.port, "https": self.is_safe, "prefer_grpc": True}
        return {"url": f"{self.scheme}://{host}:{self.port}{self.path}"}


def parse_address(url: str) -> Address:
    """The address that a URL means.

    Without a port it is 6333 (gRPC: 6334); behind a path, where a proxy answers, it is 80 or 443.

    Raises:
        UsageError: no host, a port that is none, or more than an address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        why = "" if "@" in url else f" ({error})"  # which may repeat a part of a password
        raise UsageError(f"{shown(url)!r} is no URL{why}; give http://HOST:6333") from None
    if not parts.hostname:
        raise UsageError(f"{shown(url)} names no host; give http://HOST:6333")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(f"{shown(url)}: no key or password stands in a URL; set QDRANT_API_KEY")
    path = parts.path.rstrip("/")
    if parts.scheme.startswith("grpc"):
        if path:
            raise UsageError(f"{shown(url)}: gRPC takes no path; give {parts.scheme}://HOST:6334")
        return Address(parts.scheme, parts.hostname, port or 6334, "")
    if not port:
        port = 6333 if not path else 443 if parts.scheme == "https" else 80
    return Address(parts.scheme, parts.hostname, port, path)


def read_context(ca: Path) -> ssl.SSLContext:
    """A context that trusts the certificates of a PEM file, and no others.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigError(f"[server] ca = {str(ca)!r} holds no PEM certificate ({_line(error)})") from None
    except OSError as error:
        raise ConfigError(
            f"[server] ca = {str(ca)!r} cannot be read ({error.strerror}); give a PEM file"
        ) from None


def _public_context() -> ssl.SSLContext:
    """A context that trusts public certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(
            f"SSL_CERT_FILE = {os.environ.get('SSL_CERT_FILE', '')!r} cannot be used ({_line(error)}); "
            f"unset it, or give a PEM file"
        ) from None


def shown(url: str) -> str:
    """A URL without what could be a secret: user, password, query and fragment."""
    scheme, _, rest = url.partition("://")
    # A password may hold any of "/?#", written wrongly: what stands before the last "@" is hidden first.
    rest = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return f"{scheme}://{rest}".rstrip("/") if rest else f"{scheme}://"


def address_of(client: QdrantClient) -> str:
    """Where a client sends its requests; "" where it has no server."""
    remote = client._client
    if not isinstance(remote, QdrantRemote):
        return ""
    if remote._prefer_grpc:
        return f"{'grpcs' if remote._https else 'grpc'}://{remote._host}:{remote._grpc_port}"
    return remote.rest_uri


def key_of(client: QdrantClient) -> str | None:
    """The key that a client sends."""
    remote = client._client
    return remote._rest_headers.get("api-key") if isinstance(remote, QdrantRemote) else None


def asked(
    client: QdrantClient, collection: str, function: Callable[..., T], patience: float, **arguments: Any
) -> T:
    """Call a method of the client; what fails for the moment is tried again, for ``patience`` seconds.

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
        except (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError) as error:
            cause: Exception = error
        except ValueError as error:
            gone = str(error).endswith("not found")
            raise (NoCollectionError if gone else StoreError)(f"{collection}: {_line(error)}") from error
        address, key = address_of(client), key_of(client)
        where = f"{collection} at {address}" if address else collection
        said = _said(cause).replace(key, "***") if key else _said(cause)  # it may come back in an answer
        wait = None if _is_untrusted(said) else _pause_asked(cause)
        now = time.monotonic()
        if wait is None:
            refusal = _refusal(cause)(f"{where}: {said}{_advice(cause, said, function.__name__, key)}")
        elif now >= deadline:
            refusal = StoreError(f"{where}: {said}, for {patience:.0f} s; see to the server, then run again")
        else:
            time.sleep(min(max(wait, pause), deadline - now))
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        raise refusal from (None if key and key in str(cause) else cause)


def _is_untrusted(said: str) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in said


def _advice(error: Exception, said: str, method: str, key: str | None) -> str:
    """What to do about a refusal."""
    if _is_untrusted(said):
        return "; for a private CA, name its PEM file as [server] ca in the config file"
    status = _status(error)
    if status in (401, "UNAUTHENTICATED"):
        if key is None:
            return "; no API key was sent: set QDRANT_API_KEY"
        return "; the API key that was sent is not valid: set QDRANT_API_KEY to one that is"
    if status in (403, "PERMISSION_DENIED"):
        what, access = _ACCESS.get(method, _READING)
        sent = "the API key that was sent lacks it" if key else "no API key was sent"
        return f"; {what} needs {access}, and {sent}: set QDRANT_API_KEY to one that has it"
    return ""


def _status(error: Exception) -> int | str | None:
    if isinstance(error, UnexpectedResponse):
        return error.status_code
    return str(error.code().name) if isinstance(error, grpc.RpcError) else None


def _pause_asked(error: Exception) -> float | None:
    """Seconds to wait before the next try at the least; None where another try would be no use."""
    if isinstance(error, grpc.RpcError):
        return 0.0 if error.code().name in _GRPC_TRY_AGAIN else None
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
    if isinstance(error, grpc.RpcError):
        return f"the server answered {error.code().name} ({_line(error.details())})"
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


def _line(said: object) -> str:
    return " ".join(str(said).split())[:300]
