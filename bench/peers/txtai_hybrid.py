"""txtai's hybrid index with stored content, at its defaults but for the length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import LIMIT, Passage, Search, windows
from bench.peers.models import LIMIT as TOKENS
from bench.peers.models import TRANSFORMER


class Txtai:
    """Every run builds the index anew; ids are ``path:start``."""

    def index(self, tree: Path, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        from txtai import Embeddings

        embeddings = Embeddings(path=str(TRANSFORMER), hybrid=True, content=True, maxlength=TOKENS)
        embeddings.index((passage.name, passage.text, None) for passage in windows(tree))
        embeddings.save(str(home))
        return _search(embeddings)

    def open(self, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        return _search(_loaded(home))

    def stored(self, home: Path) -> Iterator[Passage]:
        """See `bench.peers.Peer`."""
        embeddings = _loaded(home)
        for row in embeddings.search("SELECT id, text FROM txtai", limit=embeddings.count()):
            path, _, start = row["id"].rpartition(":")
            yield Passage(path, int(start), row["text"])


def _loaded(home: Path) -> Any:
    from txtai import Embeddings

    embeddings = Embeddings()
    embeddings.load(str(home))
    return embeddings


def _search(embeddings: Any) -> Search:
    return lambda question: [hit["id"] for hit in embeddings.search(question, LIMIT)]
