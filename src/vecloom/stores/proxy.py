"""Which proxy a request to a server goes through.

The client is told the answer instead of choosing itself, so that what is checked is what is done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def find_proxy(scheme: str, host: str, port: int) -> str | None:
    """The URL of the proxy for ``http`` or ``https``; None where requests go straight to the server.

    From HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, or the settings of the system.
    """
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(f"{host}:{port}") or _matches(host, port, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def find_grpc_proxy(host: str, port: int) -> str | None:
    """The same for gRPC, which reads other variables, in lower case only."""
    proxy = _first(("grpc_proxy", "https_proxy", "http_proxy"))
    if not proxy or _matches(host, port, _first(("no_grpc_proxy", "no_proxy"))):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def hide_password(proxy: str) -> str:
    """The URL of a proxy without user and password."""
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}"


def is_usable(proxy: str) -> bool:
    """True if the URL of a proxy names a host and a scheme that HTTP clients know."""
    try:
        parts = urlsplit(proxy)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and parts.scheme in ("http", "https", "socks5", "socks5h")


def _first(names: Sequence[str]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _matches(host: str, port: int, exceptions: str) -> bool:
    """True if a host is one that the value of NO_PROXY names: itself, or a domain above it."""
    bare = host.strip("[]").lower()
    for name in exceptions.lower().split(","):
        name = name.strip().lstrip(".").removeprefix("*.")
        if name == "*" or name.strip("[]") == bare or name == f"{host}:{port}".lower():
            return True
        if name and bare.endswith(f".{name}"):
            return True
    return False
