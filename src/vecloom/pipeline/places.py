"""What a user calls the place of an index, and what lives there."""

from __future__ import annotations

import os
from pathlib import Path

from vecloom.config import Config
from vecloom.errors import UsageError
from vecloom.pipeline.home import FolderHome, Home

#: What names the place of an index: its folder, or the URL of a server.
Place = str | os.PathLike[str]

#: The collection of a server where none is named.
DEFAULT_COLLECTION = "docs_v5_multi"


def is_url(place: Place) -> bool:
    """Whether a place is the URL of a server and no folder."""
    return isinstance(place, str) and place.partition("://")[0] in ("http", "https", "grpc", "grpcs")


def home_of(place: Place, collection: str | None, config: Config) -> Home:
    """Where the index at ``place`` lives.

    Raises:
        UsageError: a collection is named for a folder, or a key would go over plain http.
        MissingExtraError: the client of servers is not installed.
    """
    if is_url(place):
        from vecloom.pipeline.collection import CollectionHome

        return CollectionHome(str(place), collection or DEFAULT_COLLECTION, config)
    if collection is not None:
        raise UsageError(f"--collection {collection} names a collection of a server; --index {place} is none")
    return FolderHome(Path(place).absolute(), config.registry())
