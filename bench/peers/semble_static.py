"""semble: static vectors and BM25, its own chunker and cache. For time only (see `bench.peers.models`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import LIMIT, Passage, Search
from bench.peers.models import STATIC

_TREE = "tree.txt"


class Semble:
    """Files whose modification time is the one in the cache are taken from there."""

    def index(self, tree: Path, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        home.mkdir(parents=True, exist_ok=True)
        (home / _TREE).write_text(str(tree), "utf-8")
        return _search(_index(home))

    def open(self, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        return _search(_index(home))

    def stored(self, home: Path) -> Iterator[Passage]:
        """See `bench.peers.Peer`."""
        for chunk in _index(home).chunks:
            yield Passage(chunk.file_path, chunk.start_line, chunk.content)


def _index(home: Path) -> Any:
    """What its command line does for every search: the cached index, brought up to date."""
    os.environ["SEMBLE_CACHE_LOCATION"] = str(home)
    from semble import SembleIndex
    from semble.cache import save_index_to_cache
    from semble.types import ContentType

    tree = (home / _TREE).read_text("utf-8")
    content = (ContentType.CODE, ContentType.DOCS)
    index = SembleIndex.from_path(tree, content=content, model_path=str(STATIC))
    save_index_to_cache(index, tree)
    return index


def _search(index: Any) -> Search:
    def search(question: str) -> list[str]:
        found = index.search(question, LIMIT)
        return [f"{hit.chunk.file_path}:{hit.chunk.start_line}" for hit in found]

    return search
