"""The BERT pass: one forward that gives a dense vector, BM42's word weights, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vecloom.encoders import PassStats
from vecloom.encoders.bert_graph import BertOutputs
from vecloom.encoders.bert_model import BertModel, Forward
from vecloom.encoders.bm42 import Bm42Words
from vecloom.encoders.counters import CounterSettings
from vecloom.encoders.rows import check_dim, limit_of, prompts_of, sized
from vecloom.encoders.terms import stack_rows
from vecloom.errors import ConfigError
from vecloom.registry import ModelSpec, Role
from vecloom.types import SparseRows, Vectors


class BertEncoder:
    """Rows that share one BERT: dense rows are its pooled output, sparse rows are BM42 over its attention.

    Texts are cut at the rows' hard limit and the model's own. Batches hold texts of one token length, so
    nothing is padded; ``threads`` batches run at a time. The model is opened on first use, and only for what
    is asked: a sparse query needs the tokenizer alone.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        folder: Path,
        cache_dir: Path,
        threads: int,
        backend: str = "onnx",
        precision: str = "fp32",
        task: str | None = None,
    ) -> None:
        """``folder`` holds the files that the rows share; of them only ``config.json`` is read here.

        Raises:
            WeightsError: it cannot be read, or is of another architecture.
            ConfigError: the rows ask for different things of one pass.
            EncodingError: a row's dimension is not the model's.
        """
        self.names = tuple(spec.vector_name for spec in specs)
        self._specs = {spec.vector_name: spec for spec in specs}
        self._prompts = prompts_of(specs, task)
        self._path = folder / "tokenizer.json"
        self._model = BertModel(
            folder, limit_of(specs), _outputs(specs), cache_dir, threads, backend, precision
        )
        for spec in specs:
            check_dim(spec, self._model.shape.hidden)

    @property
    def counting(self) -> CounterSettings:
        """Counts the model's word pieces; the documents' prompt counts among the special tokens."""
        return CounterSettings(str(self._path), prompt=self._prompts.get("document", ""))

    @cached_property
    def _words(self) -> Mapping[str, Bm42Words]:
        """By the names of the sparse vectors."""
        return {
            name: Bm42Words(
                self._model.tokenizer,
                language=str(spec.settings.get("language", "english")),
                alpha=float(spec.settings.get("alpha", 0.5)),
            )
            for name, spec in self._specs.items()
            if spec.kind == "sparse"
        }

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        """Vectors of the texts, by vector name.

        Raises:
            EncodingError: the model gave NaN or infinity.
            WeightsError: its files cannot be read.
        """
        dense, sparse = self._split(names)
        pooled = np.empty((len(texts) if dense else 0, self._model.shape.hidden), dtype=np.float32)
        rows: dict[str, list[SparseRows]] = {name: [] for name in sparse}
        stats = PassStats()
        prompted = self._prompted(texts, "document")
        for forward in self._model.forwards(prompted, dense=bool(dense), attention=bool(sparse)):
            pooled[stats.texts : stats.texts + len(forward.dense)] = forward.dense
            for name in sparse:
                rows[name].append(self._words[name].documents(forward.tokens, forward.attention))
            stats += _stats_of(forward)
        vectors: dict[str, Vectors] = {name: sized(self._specs[name], pooled) for name in dense}
        return vectors | {name: stack_rows(parts) for name, parts in rows.items()}, stats

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, Vectors]:
        """Vectors of search queries. Sparse ones weigh 1 for each stem, without a run of the model."""
        dense, sparse = self._split(names)
        prompted = self._prompted(texts, "query")
        vectors: dict[str, Vectors] = {}
        if dense:
            width = np.empty((0, self._model.shape.hidden), dtype=np.float32)
            pooled = np.concatenate([width, *(part.dense for part in self._model.queries(prompted))])
            vectors = {name: sized(self._specs[name], pooled) for name in dense}
        if sparse:
            tokens = self._model.tokenizer.rows(prompted)
            vectors |= {name: self._words[name].queries(tokens) for name in sparse}
        return vectors

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """The stem behind every index of sparse vectors: the tokenizer alone is needed."""
        if not rows:
            return {}
        tokens = self._model.tokenizer.rows(self._prompted(texts, "document"))
        return {name: self._words[name].terms(tokens) for name in rows}

    def _split(self, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """The dense and the sparse names asked for, of those this pass yields."""
        wanted = [name for name in self.names if names is None or name in names]
        dense = [name for name in wanted if self._specs[name].kind == "dense"]
        return dense, [name for name in wanted if name not in dense]

    def _prompted(self, texts: Sequence[str], role: Role) -> Sequence[str]:
        prompt = self._prompts.get(role, "")
        return [prompt + text for text in texts] if prompt else texts


def _stats_of(forward: Forward) -> PassStats:
    tokens = forward.tokens
    return PassStats(
        texts=len(tokens.starts) - 1,
        tokens=len(tokens.ids),
        padded=forward.padded,
        cut_texts=tokens.cut_texts,
        cut_tokens=tokens.cut_tokens,
    )


def _outputs(specs: Sequence[ModelSpec]) -> BertOutputs:
    """How the dense rows pool."""
    ways = {(spec.pooling, spec.normalise): spec.key for spec in specs if spec.kind == "dense"}
    if len(ways) > 1:
        raise ConfigError(f"{' and '.join(ways.values())} pool differently; give each its own shared_pass")
    pooling, normalise = next(iter(ways), ("mean", True))
    if pooling == "last":
        raise ConfigError(f"{ways[pooling, normalise]}: a BERT is pooled by 'mean' or 'cls', not by 'last'")
    return BertOutputs(dense=True, attention=True, pooling=pooling or "mean", normalise=normalise)
