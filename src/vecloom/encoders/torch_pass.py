"""The PyTorch pass: one forward of a transformer that gives dense, sparse and multivector rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vecloom.encoders import PassStats
from vecloom.encoders.heads import DenseHead, Head, MultivectorHead, SparseHead
from vecloom.encoders.pretrained import import_torch
from vecloom.encoders.rows import Tokenising, check_dim, last_token_of, limit_of, prompts_of
from vecloom.encoders.tokens import TokenRows
from vecloom.encoders.transformer import shared_transformer
from vecloom.errors import EncodingError
from vecloom.registry import ModelSpec, Role
from vecloom.types import SparseRows, Vectors

#: Tokens of bge-m3's tokenizer that FlagEmbedding gives no weight.
_WITHOUT_WEIGHT = ("<s>", "</s>", "<pad>", "<unk>")


class TorchEncoder(Tokenising):
    """Rows that share one transformer: dense ones pool its last layer, others have heads of their own.

    Texts are cut at the rows' hard limit and the model's own, prompt and special tokens included.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        folder: Path,
        device: str,
        precision: str,
        threads: int,
        task: str | None = None,
    ) -> None:
        """``folder`` holds the files that the rows share; of them only ``config.json`` is read here.

        Raises:
            WeightsError: it cannot be read.
            ConfigError: the rows ask for different prompts of one pass.
            EncodingError: a row's dimension is not the model's.
        """
        self.names = tuple(spec.vector_name for spec in specs)
        self._specs = {spec.vector_name: spec for spec in specs}
        self._prompts = prompts_of(specs, task)
        self._folder = folder
        self.model = shared_transformer(folder, device, precision, threads)
        self._limit = limit_of(specs, self.model.longest)
        self._last_token = last_token_of(specs)
        for spec in specs:
            check_dim(spec, self.model.hidden_size)

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        """Vectors of stored texts, by vector name.

        Raises:
            EncodingError: the model gave NaN or infinity, or a text does not fit the device's memory.
            WeightsError: the model's files cannot be read.
            MissingExtraError: PyTorch is not installed.
        """
        rows, vectors = self._encode(texts, names, "document")
        tokens = len(rows.ids)
        return vectors, PassStats(len(texts), tokens, tokens, rows.cut_texts, rows.cut_tokens)

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, Vectors]:
        """Vectors of search queries, by vector name: the same heads, behind the queries' prompt."""
        return self._encode(texts, names, "query")[1]

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        """The token behind every index of sparse vectors."""
        del texts  # an index is the token's own number
        if not rows:
            return {}
        tokens, _ = self._tokenizer.vocabulary()
        return {name: [tokens[index] for index in found.indices.tolist()] for name, found in rows.items()}

    def _wanted(self, names: Sequence[str] | None) -> list[str]:
        return [name for name in self.names if names is None or name in names]

    def _encode(
        self, texts: Sequence[str], names: Sequence[str] | None, role: Role
    ) -> tuple[TokenRows, dict[str, Vectors]]:
        rows = self._tokenized(texts, role)
        while True:
            try:
                return rows, self._vectors(rows, texts, names, role)
            except import_torch().OutOfMemoryError:  # what the heads make of a batch takes memory too
                if not self.model.budget.failed():
                    raise EncodingError(
                        f"what {', '.join(self._wanted(names))} gives does not fit the memory of "
                        f"{self.model.device}; make smaller chunks (--chunk-tokens), or take another --device"
                    ) from None

    def _vectors(
        self, rows: TokenRows, texts: Sequence[str], names: Sequence[str] | None, role: Role
    ) -> dict[str, Vectors]:
        heads = {name: self._head(self._specs[name], rows) for name in self._wanted(names)}
        checks = []  # on the device: asking for an answer at once would wait for the batch
        for states in self.model.states(rows, awaited=role == "query"):
            for head in heads.values():
                head.add(states)
            bad = ~states.hidden.isfinite().all(dim=1)
            checks.append((states.texts, states.lengths.cumsum(), bad.any(), bad.int().argmax()))
        for places, ends, any_bad, token in checks:
            if any_bad:
                text = int(places[int((ends <= int(token)).sum())])
                raise EncodingError(
                    f"the model in {str(self._folder)!r} gives NaN or infinity, as for the text "
                    f"{texts[text][:60]!r}; check its files (vecloom models verify "
                    f"{self._specs[self.names[0]].key}), or make the index with --rebuild --precision fp32"
                )
        return {name: head.vectors() for name, head in heads.items()}

    def _head(self, spec: ModelSpec, rows: TokenRows) -> Head:
        if spec.kind == "dense":
            return DenseHead(spec, self.model.hidden_size)
        linear = self.model.linear(str(spec.settings["head"]), 1 if spec.kind == "sparse" else spec.dim)
        if spec.kind == "sparse":
            return SparseHead(linear, rows, self._tokenizer.ids_of(_WITHOUT_WEIGHT))
        return MultivectorHead(linear, len(rows.lengths))
