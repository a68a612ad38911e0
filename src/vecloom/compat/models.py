"""V4's tables of models, and the rows of the registry that they stand for.

The tables are made of the registry's rows, and what a user changes in them counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vecloom.compat.settings import ModelConfig
from vecloom.config import Config
from vecloom.errors import UnknownModelError, UsageError
from vecloom.registry import ModelSpec, Registry

#: V4's names of backends -> vecloom's.
BACKENDS = {"pytorch": "torch", "onnx": "onnx", "openvino": "openvino"}

#: V4's dense models and the seed's, each with the length that they list.
_MAX_TOKENS = {
    "jina-code-embeddings-1.5b": 32768,
    "bge-m3": 8192,
    "nomic-coderank": 2048,
    "qdrant-minilm-onnx": 256,
    "all-miniLM-l6": 256,
    "gte-large": 512,
    "gte-qwen2-1.5b": 8192,
    "e5-mistral-7b": 32768,
    "gte-qwen2-7b": 32768,
    "bge-small": 512,
}

#: The task of a row whose prompts a user set in the table.
_OWN_TASK = "v4"


def backend_of(named: str) -> str:
    """A backend as vecloom calls it.

    Raises:
        UsageError: there is none of this name, or none that can be had.
    """
    if named == "tensorrt":
        raise UsageError("the backend 'tensorrt' cannot be had; take 'pytorch' or 'onnx'")
    if named not in BACKENDS:
        raise UsageError(f"no backend is called {named!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[named]


def entry_of(row: ModelSpec, max_tokens: int | None = None) -> ModelConfig:
    """A dense row as an entry of V4's table; its prompts are those of its first task."""
    prompts = next(iter(row.prompts.values()), {})
    return ModelConfig(
        name=row.key,
        hf_model_id=row.hub_id or row.key,
        vector_dim=row.dim or 0,
        max_tokens=max_tokens or row.max_tokens or 0,
        query_prefix=prompts.get("query", ""),
        doc_prefix=prompts.get("document", ""),
        recommended_batch_size=row.recommended_batch,
        backend="pytorch" if "torch" in row.backends else row.backends[0],
    )


_ROWS = Registry().rows
KAGGLE_OPTIMIZED_MODELS = {key: entry_of(_ROWS[key], tokens) for key, tokens in _MAX_TOKENS.items()}
_AS_LISTED = {key: replace(entry) for key, entry in KAGGLE_OPTIMIZED_MODELS.items()}

SPARSE_MODELS: dict[str, dict[str, Any]] = {
    "qdrant-bm25": {
        "name": "qdrant-bm25",
        "hf_model_id": "Qdrant/bm25",
        "type": "bm25",
        "description": "BM25-style term frequency sparse vectors",
        "recommended_batch_size": 64,
    },
    "qdrant-minilm-attention": {
        "name": "qdrant-minilm-attention",
        "hf_model_id": "Qdrant/all_miniLM_L6_v2_with_attentions",
        "type": "attention",
        "description": "Attention-based sparse vectors from MiniLM",
        "recommended_batch_size": 64,
    },
}

RERANKING_MODELS = {key: str(row.hub_id) for key, row in _ROWS.items() if row.kind == "reranker"}
_RERANKERS_AS_LISTED = dict(RERANKING_MODELS)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model that was asked for: its key, V4's entry as it is run, and the registry's row."""

    key: str
    entry: ModelConfig
    row: ModelSpec

    @property
    def name(self) -> str:
        """How the registry finds the row with its dimension."""
        return f"{self.key}:{self.entry.vector_dim}" if self.entry.vector_dim != self.row.dim else self.key


def choose_dense(name: str, registry: Registry) -> Chosen:
    """The dense model of a name: of V4's table (key or hub id, in any case), or of the registry.

    Raises:
        UnknownModelError: neither knows it; the message names those that V4's table knows.
        UsageError: it is not dense, cannot be run, or its entry asks for what it has not.
    """
    wanted = name.lower()
    listed = KAGGLE_OPTIMIZED_MODELS
    key = next((key for key in listed if key.lower() == wanted), None) or next(
        (key for key, entry in listed.items() if entry.hf_model_id.lower() == wanted), None
    )
    if key is None:
        row = _known(name, registry, listed)
        if row.kind != "dense":
            raise UsageError(f"{row.key} is no dense model ({row.kind}); name one: {', '.join(listed)}")
        return Chosen(row.key, entry_of(row), row)
    entry = listed[key]
    as_listed = _AS_LISTED.get(key)
    if as_listed is not None and entry.hf_model_id == as_listed.hf_model_id:
        row = registry.runnable(key)
    else:
        row = _row_of_entry(key, entry, registry)
        as_listed = entry_of(row) if row.pooling is not None else None
    row = _changed(row, entry, as_listed)
    dim = entry.vector_dim if as_listed is None or entry.vector_dim != as_listed.vector_dim else row.dim
    return Chosen(key, replace(entry, name=key, vector_dim=dim or 0), row)


def choose_sparse(name: str, registry: Registry) -> ModelSpec:
    """The row of a sparse model: of V4's table (key or hub id, in any case), or of the registry.

    Raises:
        UnknownModelError: neither knows it; the message names those that V4's table knows.
        UsageError: it is not sparse.
    """
    entries = {key.lower(): str(entry.get("hf_model_id", key)) for key, entry in SPARSE_MODELS.items()}
    row = _known(entries.get(name.lower(), name), registry, SPARSE_MODELS)
    if row.kind != "sparse":
        raise UsageError(f"{row.key} is no sparse model ({row.kind}); name one: {', '.join(SPARSE_MODELS)}")
    return row


def choose_reranker(name: str, registry: Registry) -> ModelSpec:
    """The row of a reranker: of V4's table, or of the registry.

    Raises:
        UnknownModelError: neither knows it; the message names those that V4's table knows.
        UsageError: it is no reranker, or cannot be run.
    """
    hub_id = RERANKING_MODELS.get(name)
    if hub_id is None or hub_id == _RERANKERS_AS_LISTED.get(name):
        return registry.reranker(_known(name, registry, RERANKING_MODELS).key)
    known = next((row for row in registry.rows.values() if row.hub_id == hub_id), None)
    if known is not None:
        return registry.reranker(known.key)
    return replace(_bare(name, hub_id), kind="reranker", max_tokens=512)


def with_rows(config: Config, rows: Sequence[ModelSpec]) -> Config:
    """The settings with these rows. A hub id of a user's own that is a folder here means that folder."""
    registry = config.registry()
    known = {row.hub_id for row in registry.rows.values()}
    folders = {
        str(row.weights_id): Path(row.hub_id).absolute()
        for row in rows
        if row.hub_id is not None and row.hub_id not in known and Path(row.hub_id).is_dir()
    }
    own = tuple(row for row in rows if registry.rows.get(row.key) != row)
    return replace(config, models=(*config.models, *own), folders={**config.folders, **folders})


def _known(name: str, registry: Registry, table: Mapping[str, object]) -> ModelSpec:
    try:
        return registry.runnable(name)
    except UnknownModelError:
        known = ", ".join(table)
        raise UnknownModelError(f"no model is called {name!r}; there are {known}") from None


def _row_of_entry(key: str, entry: ModelConfig, registry: Registry) -> ModelSpec:
    """The row of an entry that a user added, or turned to another model: the registry's, or a bare one."""
    wanted = entry.hf_model_id.lower()
    rows = (row for row in registry.rows.values() if row.kind == "dense")
    known = next((row for row in rows if (row.hub_id or "").lower() == wanted), None)
    if known is None:
        dense = replace(_bare(key, entry.hf_model_id), dim=entry.vector_dim, max_tokens=entry.max_tokens)
        return replace(dense, normalise=True)
    registry.runnable(known.key)
    return known if known.key == key else replace(known, key=key, vector_name=key, aliases=())


def _bare(key: str, hub_id: str) -> ModelSpec:
    return ModelSpec(
        key=key, hub_id=hub_id, vector_name=key, kind="dense", licence="unknown", backends=("torch",)
    )


def _changed(row: ModelSpec, entry: ModelConfig, as_listed: ModelConfig | None) -> ModelSpec:
    """The row with what an entry says otherwise than it was listed (None: it was not)."""

    def differs(name: str) -> bool:
        return as_listed is None or getattr(entry, name) != getattr(as_listed, name)

    changes: dict[str, Any] = {}
    if differs("max_tokens"):
        recommended = min(row.recommended_tokens or entry.max_tokens, entry.max_tokens)
        changes |= {"max_tokens": entry.max_tokens, "recommended_tokens": recommended}
    if differs("query_prefix") or differs("doc_prefix"):
        changes["prompts"] = {_OWN_TASK: {"query": entry.query_prefix, "document": entry.doc_prefix}}
    if differs("backend"):
        backend = backend_of(entry.backend)
        if backend not in row.backends:
            offered = ", ".join(row.backends)
            raise UsageError(f"{row.key} does not run on {entry.backend!r}; it runs on {offered}")
        changes["backends"] = (backend,)
    return replace(row, **changes, shared_pass=None) if changes else row
