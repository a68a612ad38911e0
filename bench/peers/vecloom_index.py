"""vecloom's side of what is not measured through its command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.peers import LIMIT, Passage, Search


class VecloomIndex:
    """An index opened through the Python API."""

    def open(self, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        from vecloom import Index

        index = Index.open(home)
        return lambda question: [f"{hit.path}:{hit.start_line}" for hit in index.search(question, LIMIT)]

    def stored(self, home: Path) -> Iterator[Passage]:
        """See `bench.peers.Peer`: the texts with their context headers, as the models saw them."""
        from vecloom.config import load_config
        from vecloom.pipeline.manifest import load_manifest
        from vecloom.stores.edge import EdgeStore

        manifest = load_manifest(home)
        store = EdgeStore.open(home / manifest.shard, manifest.schema(load_config().registry()))
        for record in store.scroll(None, ("path", "start_line", "start_byte", "header", "text")):
            said = record.payload
            yield Passage(said["path"], said["start_byte"], said["header"] + said["text"])
        store.close()
