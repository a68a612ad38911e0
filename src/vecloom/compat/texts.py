"""What V4 does to a text, and what it makes of a chunk's metadata."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vecloom.compat.chunks import RawChunk
from vecloom.compat.settings import AdvancedPreprocessingConfig

#: V4's favourite collections.
_PRIORITIES = {
    "qdrant_ecosystem": 1.0,
    "sentence_transformers": 0.9,
    "docling": 0.8,
    "fast_docs": 0.7,
    "pydantic": 0.6,
}
_OTHER_PRIORITY = 0.5

#: A chunk's ``content_flags``, the first that is set -> the hint on how to read it.
_FLAGS = (("has_code_block", "code"), ("has_table", "table"), ("has_json", "json"), ("has_list", "list"))
_KINDS = {"code": "code", "notebook": "code", "data": "json"}

_BLANKS = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{4,}")


def preprocessed(text: str, config: AdvancedPreprocessingConfig) -> str:
    """A text without white space that says nothing; well-formed code stays as it is.

    ``normalize_whitespace``: lines end in one newline and not in blanks, and no blank line begins or ends the
    text. ``remove_excessive_newlines``: at most two blank lines in a row.
    """
    if config.normalize_whitespace:
        text = _BLANKS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).lstrip("\n")
        text = text.rstrip("\n") + "\n" * text.endswith("\n")
    if config.remove_excessive_newlines:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text


@dataclass(frozen=True, slots=True)
class Target:
    """What the chunks of one load are for: the model by name, the width of its vectors, and when."""

    model: str
    dimension: int
    timestamp: str


def collection_alias(name: str) -> str:
    """A collection's name in small letters, digits and ``_``."""
    return re.sub(r"\W+", "_", name).strip("_").lower() or "chunks"


def target_collection(name: str, model: str) -> str:
    """The Qdrant collection that V4 names for a collection of chunks and a model."""
    return f"{collection_alias(name)}_v4_{model.replace('-', '_')}"


def described(chunk: RawChunk, processed: str, number: int, target: Target) -> dict[str, Any]:
    """A chunk's metadata, and what V4 adds to it; what the chunk says itself stays as it is."""
    said = chunk.metadata
    path = _first(said, "source_path", "source_file", "filename", "path") or chunk.file.name
    posix = PurePosixPath(str(path).replace("\\", "/"))
    alias = collection_alias(chunk.collection)
    modal = str(said.get("modal_hint") or _modal_hint(said))
    hints = _strings(_first(said, "collection_hints", "qdrant_collection_hint")) or [alias]
    defaults = {
        "chunk_hash": _digest("sha1", chunk.text)[:16],
        "content_type": said.get("kind") or "hierarchical_section",
        "document_id": _digest("md5", str(posix).lower())[:12],
        "document_name": posix.stem,
        "source_file": str(posix),
        "search_keywords": [term for term, _ in _terms(said)],
    }
    return {
        **said,
        **{key: value for key, value in defaults.items() if said.get(key) is None},
        "token_count": chunk.tokens,
        "global_chunk_id": number,
        "collection_priority": _PRIORITIES.get(alias, _OTHER_PRIORITY),
        "quality_score": min(1.0, chunk.tokens / 1000),
        "text_preprocessing_applied": processed != chunk.text,
        "original_length": len(chunk.text),
        "processed_length": len(processed),
        "full_text_length": len(chunk.text),
        "kaggle_processing_timestamp": target.timestamp,
        "model_target": target.model,
        "embedding_dimension": target.dimension,
        "qdrant_collection": target_collection(chunk.collection, target.model),
        "collection_alias": alias,
        "collection_hints": hints,
        "qdrant_collection_hint": said.get("qdrant_collection_hint") or hints[0],
        "hierarchy_path": _hierarchy(said),
        "payload_version": "1.2",
        "source_path": str(posix),
        "source_filename": posix.name,
        "content_digest": _digest("sha256", processed),
        "modal_hint": modal,
        "embedding_modal_hint": modal,
        "chunk_file_name": chunk.file.name,
    }


def own_sparse_vector(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """V4's sparse vector of a chunk's own ``sparse_features``, or None where it has none.

    Values are scaled to length 1. The index of a term is of V4's own making, the first 32 bits of its sha1:
    no other sparse vector goes with it.
    """
    weights: dict[int, float] = {}
    tokens: dict[int, str] = {}
    for term, weight in _terms(metadata):
        index = int(_digest("sha1", term)[:8], 16)
        weights[index] = weights.get(index, 0.0) + weight
        tokens.setdefault(index, term)
    norm = math.sqrt(sum(weight * weight for weight in weights.values()))
    if not norm:
        return None
    features = metadata["sparse_features"]
    indices = sorted(weights)
    return {
        "indices": indices,
        "values": [weights[index] / norm for index in indices],
        "tokens": [tokens[index] for index in indices],
        "stats": {
            "weight_norm": norm,
            "unique_terms": features.get("unique_terms", len(indices)),
            "total_terms": features.get("total_terms"),
            "weighting": features.get("weighting"),
        },
    }


def _terms(metadata: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The terms of a chunk's own ``sparse_features`` with their weights, without those that weigh nothing."""
    features = metadata.get("sparse_features")
    listed = features.get("term_weights") if isinstance(features, Mapping) else None
    entries = [entry for entry in listed or () if isinstance(entry, Mapping)]
    pairs = ((entry.get("term"), entry.get("weight")) for entry in entries)
    return [
        (term, float(weight))
        for term, weight in pairs
        if isinstance(term, str) and isinstance(weight, (int, float)) and weight > 0
    ]


def _hierarchy(said: Mapping[str, Any]) -> str:
    """The headings or symbols that a chunk lies in, joined by ``>``."""
    path = _first(said, "hierarchy_path", "section_path", "breadcrumb", "heading_text")
    return " > ".join(_strings(path))


def _modal_hint(said: Mapping[str, Any]) -> str:
    flags = said.get("content_flags")
    flags = flags if isinstance(flags, Mapping) else {}
    flagged = (hint for flag, hint in _FLAGS if flags.get(flag))
    return next(flagged, _KINDS.get(str(said.get("kind")), "prose"))


def _first(said: Mapping[str, Any], *keys: str) -> Any:
    """What stands under the first of these keys that has something."""
    return next((said[key] for key in keys if said.get(key)), None)


def _strings(said: Any) -> list[str]:
    if said is None:
        return []
    return [str(one) for one in said] if isinstance(said, (list, tuple)) else [str(said)]


def _digest(name: str, text: str) -> str:
    return hashlib.new(name, text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
