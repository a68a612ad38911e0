"""sentence-transformers in bf16 and bm25s, kept as NumPy and JSON files, fused by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.peers import CANDIDATES, LIMIT, Passage, Search, fused, windows
from bench.peers.models import LIMIT as TOKENS
from bench.peers.models import TRANSFORMER


class SentenceBm25s:
    """Every run encodes the whole tree and replaces the files."""

    def index(self, tree: Path, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        import bm25s
        import numpy as np

        model = _model()
        passages = list(windows(tree))
        texts = [passage.text for passage in passages]
        vectors = model.encode(texts, normalize_embeddings=True).astype(np.float32)
        words = bm25s.BM25()
        words.index(_tokens(texts), show_progress=False)
        home.mkdir(parents=True, exist_ok=True)
        np.save(home / "vectors.npy", vectors)
        words.save(home / "bm25")
        rows = [[passage.path, passage.start, passage.text] for passage in passages]
        (home / "passages.json").write_text(json.dumps(rows), "utf-8")
        return _search(model, vectors, words, passages)

    def open(self, home: Path) -> Search:
        """See `bench.peers.Peer`."""
        import bm25s
        import numpy as np

        words = bm25s.BM25.load(home / "bm25")
        return _search(_model(), np.load(home / "vectors.npy"), words, list(self.stored(home)))

    def stored(self, home: Path) -> Iterator[Passage]:
        """See `bench.peers.Peer`."""
        for path, start, text in json.loads((home / "passages.json").read_text("utf-8")):
            yield Passage(path, start, text)


def _model() -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(TRANSFORMER), device="cpu", model_kwargs={"dtype": "bfloat16"})
    model.max_seq_length = TOKENS
    return model


def _tokens(texts: Sequence[str]) -> Any:
    import bm25s
    from py_rust_stemmers import SnowballStemmer

    stem = SnowballStemmer("english").stem_words
    return bm25s.tokenize(list(texts), stopwords="en", stemmer=stem, show_progress=False)


def _search(model: Any, vectors: Any, words: Any, passages: Sequence[Passage]) -> Search:
    import numpy as np

    count = min(CANDIDATES, len(passages))

    def search(question: str) -> list[str]:
        scores = vectors @ model.encode([question], normalize_embeddings=True)[0].astype(np.float32)
        near = np.argpartition(-scores, count - 1)[:count]
        near = near[np.argsort(-scores[near])]
        found, _ = words.retrieve(_tokens([question]), k=count, show_progress=False)
        best = fused([near.tolist(), found[0].tolist()])[:LIMIT]
        return [passages[row].name for row in best]

    return search
