"""What a user calls the place of an index, and what lives there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from vecloom.arguments import check_path, check_text
from vecloom.config import Config
from vecloom.config.settings import absolute
from vecloom.errors import UsageError
from vecloom.pipeline.home import FolderHome, Home
from vecloom.weights import unheard

#: What names the place of an index: its folder, or the URL of a server.
Place = str | os.PathLike[str]

#: The collection of a server where none is named.
DEFAULT_COLLECTION = "docs_v5_multi"

SCHEMES = ("http", "https", "grpc", "grpcs")
_URLS = tuple(f"{scheme}://" for scheme in SCHEMES)

#: How an address begins that was meant as one: ``qdrant://``, ``HTTP://``, ``http:/``, ``https//``, ``//``.
_SCHEME = r"(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:https?|grpcs?|qdrant)(?::|//)|//(?!/))"
_has_scheme = re.compile(_SCHEME, re.IGNORECASE).match

#: ``HOST:6333``, ``NAME:PASSWORD@HOST:6333/x``, ``[::1]:6333``, ``localhost``, ``127.0.0.1/x``.
_has_host = re.compile(
    r"(?:(?:[^/\\\s]*@)?(?:[^/\\\s:]*|\[[0-9a-f:.]+\]):\d{1,5}|localhost|\d{1,3}(?:\.\d{1,3}){3}|[^/\\\s:@]+:[^/\\\s@]*@[^/\\\s:]+)"
    r"(?:[/?#].*)?",
    re.IGNORECASE,
).fullmatch

#: A drive, or on Windows a share of another machine: a folder.
_has_drive = re.compile(r"[A-Za-z]:[\\/]" if os.name != "nt" else r"[A-Za-z]:|[\\/]{2}").match


def is_url(place: Place) -> bool:
    """True if a place is the URL of a server and no folder.

    What is there as a folder or file is that. A path object is always a folder.

    Raises:
        UsageError: it is neither: it looks like the address of a server and is no URL.
    """
    if not isinstance(place, str):
        return False
    if place.startswith(_URLS):
        return True
    if looks_like_server(place) and not _is_there(place):
        raise UsageError(refuse_address(place))
    return False


def looks_like_server(place: str) -> bool:
    """True if a text that is no URL of a server was probably meant as one."""
    place = place.strip()
    return not _has_drive(place) and bool(_has_scheme(place) or _has_host(place))


def require_url(url: str, setting: str) -> str:
    """The URL of a server that a setting gives.

    Raises:
        UsageError: it is none.
    """
    if not url.startswith(_URLS):
        raise UsageError(refuse_address(url, setting))
    return url


def refuse_address(place: str, setting: str = "") -> str:
    """Why a text is refused as the address of a server; shows no user, password or query of it."""
    typed, place = place, place.strip()
    rest = re.sub(f"^{_SCHEME}?/*", "", place, flags=re.IGNORECASE)
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    host = f"{host.rpartition('@')[2] or 'HOST:6333'}{slash}{path}"
    scheme = place.partition(":")[0].lower()
    wanted = f"{scheme if scheme in SCHEMES else 'http'}://{host}"
    given = host if "@" in place or "?" in place else place if place == typed else repr(typed)
    if setting:
        return f"{setting} = {given} is no URL; give {wanted}"
    return f"{given} is no URL of a server, and no folder is there; give {wanted}, or ./{host} for a folder"


def folder_of(place: Place) -> Path:
    """The absolute path of a folder. A leading ``~`` is the home folder, unless there is one of that name."""
    if isinstance(place, str) and place.startswith("~") and not _is_there(place):
        return absolute(place, Path.cwd())
    return Path(place).absolute()


def _is_there(place: str) -> bool:
    if place.startswith("//"):  # a path that was put together: //home/me is /home/me, if there is a /home
        place = f"/{place[2:].partition('/')[0]}"
    try:
        return Path(place).exists()
    except (OSError, ValueError):  # no path at all
        return False


def home_of(
    place: Place, collection: str | None, config: Config, notice: Callable[[str], None] = unheard
) -> Home:
    """Where the index at ``place`` lives. ``notice`` takes lines for the user.

    Raises:
        UsageError: a collection is named for a folder, or a key would go over plain http.
        MissingExtraError: the client of servers is not installed.
    """
    check_path("place", place)
    if collection is not None:
        check_text("collection", collection)
    if is_url(place):
        from vecloom.pipeline.collection import CollectionHome

        return CollectionHome(str(place), collection or DEFAULT_COLLECTION, config)
    if collection is not None:
        raise UsageError(f"--collection {collection} names a collection of a server; --index {place} is none")
    return FolderHome(folder_of(place), config.registry(), notice)
