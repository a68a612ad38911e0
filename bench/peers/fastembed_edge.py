"""FastEmbed's dense MiniLM and BM25 in an embedded Qdrant, fused by the engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import CANDIDATES, LIMIT, Passage, Search, windows
from bench.peers.models import FASTEMBED_BM25, FASTEMBED_DENSE

#: Points of one upsert.
_BATCH = 1000


class FastEmbedEdge:
    """Ids are made of path and start, so that a second run overwrites; what is gone from the tree stays."""

    def index(self, tree: Path, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        from qdrant_edge import EdgeShard, Point, UpdateOperation

        dense, sparse = _models()
        found = (home / "segments").exists()
        home.mkdir(parents=True, exist_ok=True)
        shard = EdgeShard.load(str(home)) if found else EdgeShard.create(str(home), _config())
        passages = list(windows(tree))
        texts = [passage.text for passage in passages]
        points: list[Any] = []
        for passage, vector, words in zip(passages, dense.embed(texts), sparse.embed(texts), strict=True):
            point = str(uuid.uuid5(uuid.NAMESPACE_URL, passage.name))
            payload = {"path": passage.path, "start": passage.start, "text": passage.text}
            points.append(Point(point, {"dense": vector, "bm25": _sparse(words)}, payload))
            if len(points) == _BATCH:
                shard.update(UpdateOperation.upsert_points(points))
                points = []
        shard.update(UpdateOperation.upsert_points(points))
        shard.flush()
        return _search(shard, dense, sparse)

    def open(self, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        from qdrant_edge import EdgeShard

        return _search(EdgeShard.load(str(home)), *_models())

    def stored(self, home: Path) -> Iterator[Passage]:
        """See `bench.peers.Peer`."""
        from qdrant_edge import EdgeShard, ScrollRequest

        shard = EdgeShard.load(str(home))
        offset: Any = None
        while True:
            records, offset = shard.scroll(ScrollRequest(offset=offset, limit=1000, with_payload=True))
            for record in records:
                yield Passage(**(record.payload or {}))
            if offset is None:
                return


def _models() -> tuple[Any, Any]:
    from fastembed import SparseTextEmbedding, TextEmbedding

    name = "sentence-transformers/all-MiniLM-L6-v2"
    dense = TextEmbedding(name, specific_model_path=str(FASTEMBED_DENSE), threads=1)
    return dense, SparseTextEmbedding("Qdrant/bm25", specific_model_path=str(FASTEMBED_BM25))


def _config() -> Any:
    from qdrant_edge import Distance, EdgeConfig, EdgeSparseVectorParams, EdgeVectorParams, Modifier

    return EdgeConfig(
        vectors={"dense": EdgeVectorParams(384, Distance.Cosine)},
        sparse_vectors={"bm25": EdgeSparseVectorParams(modifier=Modifier.Idf)},
    )


def _sparse(words: Any) -> Any:
    from qdrant_edge import SparseVector

    return SparseVector(words.indices.tolist(), words.values.tolist())


def _search(shard: Any, dense: Any, sparse: Any) -> Search:
    from qdrant_edge import Fusion, Prefetch, Query, QueryRequest

    def search(question: str) -> list[str]:
        (vector,), (words,) = dense.query_embed(question), sparse.query_embed(question)
        legs = [
            Prefetch(CANDIDATES, query=Query.Nearest(vector, "dense")),
            Prefetch(CANDIDATES, query=Query.Nearest(_sparse(words), "bm25")),
        ]
        # The stub does not say so, but a way to fuse is a query.
        fusion: Any = Fusion.Rrf(60)
        request = QueryRequest(LIMIT, query=fusion, prefetches=legs, with_payload=True)
        return [f"{hit.payload['path']}:{hit.payload['start']}" for hit in shard.query(request)]

    return search
