"""The pipelines that the end-to-end bench compares, and how each is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.children import python
from bench.peers.models import LIMIT


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One row of the table.

    ``peer``: its name in `bench.peers`. ``models``: vecloom's, where it is vecloom. ``limit``: tokens that
    the dense model sees of a text, None where there is no limit. ``again``: whether a second run over an
    unchanged tree is worth measuring on the large one, because it does not do all the work again.
    """

    name: str
    title: str
    peer: str
    models: str = ""
    limit: int | None = LIMIT
    again: bool = False

    @property
    def is_vecloom(self) -> bool:
        """Whether it is started by vecloom's command line."""
        return self.peer == "vecloom"

    def index(self, tree: Path, home: Path, question: str) -> Sequence[str]:
        """The command that indexes a tree; a peer answers the question at its end."""
        if not self.is_vecloom:
            return python("bench.peers", self.peer, "index", tree, home, question)
        models = ["--models", self.models] if self.models else []
        return python("vecloom", "index", tree, "--index", home, *models)

    def search(self, home: Path, question: str) -> Sequence[str]:
        """The command that answers one question from what was indexed."""
        if not self.is_vecloom:
            return python("bench.peers", self.peer, "search", home, question)
        return python("vecloom", "search", question, "--index", home)

    def warm(self, home: Path, questions: Path) -> Sequence[str]:
        """The command that answers many questions in one process."""
        return python("bench.peers", self.peer, "warm", home, questions)

    def stored(self, home: Path) -> Sequence[str]:
        """The command that lists what is stored."""
        return python("bench.peers", self.peer, "stored", home)


PIPELINES = (
    Pipeline("vecloom", "vecloom (dense + BM42 + BM25)", "vecloom", again=True),
    Pipeline(
        "vecloom-equal", "vecloom (dense + BM25)", "vecloom", "qdrant-minilm-onnx,qdrant-bm25", again=True
    ),
    Pipeline("fastembed", "FastEmbed dense + BM25, qdrant-edge", "fastembed"),
    Pipeline("sentence-transformers", "sentence-transformers bf16 + bm25s + NumPy", "sentence-transformers"),
    Pipeline("txtai", "txtai hybrid", "txtai"),
    Pipeline("semble", "semble (static vectors, stand-in weights)", "semble", limit=None, again=True),
)

#: The row that goals are ratios of.
MEASURE = "fastembed"
