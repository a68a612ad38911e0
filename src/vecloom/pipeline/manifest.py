"""``index.json``: what an index was made with, and where its shard lies."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from vecloom.encoders.load import check_backend
from vecloom.errors import IndexFormatError, IndexMismatchError, StoreError, StoreFullError, UsageError
from vecloom.registry import DEFAULT_MODELS, ModelSpec, Registry
from vecloom.types import Schema

#: Version of the index folder's layout. A reader refuses what is newer.
FORMAT = 1
FILE_NAME = "index.json"

#: What is to become it.
PART_NAME = "index.tmp"

#: The budget where no chosen model recommends less, and where only word-based models are chosen.
LARGEST_DEFAULT_TOKENS = 512
WORDS_ALONE_TOKENS = 256

#: What can be asked for.
LEAST_TOKENS = 32
MOST_TOKENS = 32768


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model of the index: its row's key (or ``KEY:DIM``), and hashes of the row's settings and files.

    ``weights_hash`` is "" until the files are known.
    """

    name: str
    vector_name: str
    settings_hash: str
    weights_hash: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index was made with.

    ``sources``: name -> absolute root (kept on this machine only). ``unfinished``: sources that an index run
    began to read and has not read to the end. ``incomplete``: vector names that some points lack.
    """

    models: tuple[ModelRecord, ...]
    chunk_tokens: int
    overlap: int = 0
    precision: str = "fp32"
    backend: str = "onnx"
    chunker: int = 0
    created_with: str = ""
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    shard: str = "shard-1"
    sources: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def specs(self, registry: Registry) -> tuple[ModelSpec, ...]:
        """The rows of the recorded models.

        Raises:
            IndexMismatchError: a row is gone, or its settings changed since the index was made.
        """
        specs = []
        for record in self.models:
            try:
                spec = registry.find(record.name)
            except UsageError as error:
                raise IndexMismatchError(f"the index was made with {record.name}: {error}") from None
            if spec.settings_hash != record.settings_hash:
                raise IndexMismatchError(
                    f"the row of {record.name} changed since the index was made; restore it in the config, "
                    f"or make the index anew with --rebuild"
                )
            specs.append(spec)
        return tuple(specs)

    def schema(self, registry: Registry) -> Schema:
        """The store's schema: one named vector a model."""
        return Schema(tuple(spec.vector_field for spec in self.specs(registry)))

    def same_settings(self, other: Manifest) -> bool:
        """Whether two indexes are made alike, from the same files of the models."""
        mine, theirs = (
            ([astuple(model) for model in m.models], m.chunk_tokens, m.overlap) for m in (self, other)
        )
        return mine == theirs

    def asked_again(self, asked: Asked) -> Asked:
        """What is asked of a rebuild: where there is no wish, what this index was made with."""
        return Asked(
            asked.models or tuple(record.name for record in self.models),
            self.chunk_tokens if asked == Asked(overlap=asked.overlap) else asked.chunk_tokens,
            self.overlap if asked.overlap is None else asked.overlap,
        )

    def save(self, folder: Path) -> None:
        """Replace ``index.json`` in one step, durably."""
        path = folder / FILE_NAME
        temporary = folder / PART_NAME
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"format": FORMAT, **asdict(self)}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            said = f"cannot write {path}: {error.strerror}"
            if error.errno == errno.ENOSPC:
                raise StoreFullError(f"{said}; make room and run again") from None
            raise StoreError(f"{said}; see to its permissions") from None


def record(folder: Path, **changes: Any) -> None:
    """Change fields of an index's manifest. The caller holds its writer lock."""
    replace(load_manifest(folder), **changes).save(folder)


def record_of(spec: ModelSpec, asked: str) -> ModelRecord:
    """The record of a row chosen as ``asked`` (whose ``:DIM``, if any, is kept)."""
    dim = asked.partition(":")[2]
    return ModelRecord(f"{spec.key}:{dim}" if dim else spec.key, spec.vector_name, spec.settings_hash)


def default_tokens(specs: Sequence[ModelSpec]) -> int:
    """The chunk budget when none is asked: the smallest recommended length, at most 512."""
    recommended = [spec.recommended_tokens for spec in specs if spec.recommended_tokens is not None]
    return min([LARGEST_DEFAULT_TOKENS, *recommended]) if recommended else WORDS_ALONE_TOKENS


def load_manifest(folder: Path) -> Manifest:
    """Read ``index.json``.

    Raises:
        IndexFormatError: there is none, it cannot be read, or a newer version wrote it.
    """
    path = folder / FILE_NAME
    try:
        said: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = said.pop("format")
        if found > FORMAT:
            raise IndexFormatError(
                f"{folder} was made by a newer vecloom (format {found}, this one reads {FORMAT}); "
                f'upgrade with pip install -U vecloom, or make it anew with "vecloom index --rebuild"'
            )
        models = tuple(ModelRecord(**model) for model in said.pop("models"))
        incomplete, unfinished = (tuple(said.pop(name)) for name in ("incomplete", "unfinished"))
        return Manifest(models=models, incomplete=incomplete, unfinished=unfinished, **said)
    except FileNotFoundError:
        raise IndexFormatError(f'{folder} holds no index; make one with "vecloom index PATH"') from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFormatError(
            f'{path} cannot be read ({error}); make the index anew with "vecloom index --rebuild"'
        ) from None


def stamp(folder: Path) -> object:
    """What changes whenever ``index.json`` is replaced; None where there is none."""
    try:
        stat = (folder / FILE_NAME).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks of an index: models by any name, chunk budget, overlap. Empty, None: no wish."""

    models: tuple[str, ...] = ()
    chunk_tokens: int | None = None
    overlap: int | None = None


def new_manifest(registry: Registry, asked: Asked) -> Manifest:
    """The manifest of a new index.

    Raises:
        UnknownModelError: a model that no row answers to.
        UsageError: a budget or overlap out of range.
    """
    names = asked.models or DEFAULT_MODELS
    specs = registry.select(names)
    for spec in specs:
        check_backend(spec)
    tokens = default_tokens(specs) if asked.chunk_tokens is None else asked.chunk_tokens
    overlap = asked.overlap or 0
    largest = min(spec.max_tokens or MOST_TOKENS for spec in specs)
    if not LEAST_TOKENS <= tokens <= largest:
        raise UsageError(
            f"chunks of {tokens} tokens do not suit these models; take {LEAST_TOKENS} to {largest}"
        )
    if not 0 <= overlap <= tokens // 2:
        raise UsageError(f"an overlap of {overlap} tokens does not suit chunks of {tokens}; at most half")
    records = tuple(record_of(spec, name) for spec, name in zip(specs, names, strict=True))
    return Manifest(models=records, chunk_tokens=tokens, overlap=overlap)


def changed(manifest: Manifest, registry: Registry, asked: Asked) -> Manifest:
    """The manifest with what is asked of an existing index: only further models can be had without a rebuild.

    Raises:
        IndexMismatchError: another budget or overlap, a recorded model left out, or a further one that does
            not fit the budget.
    """
    for what, have, wish in (
        ("chunks of {} tokens", manifest.chunk_tokens, asked.chunk_tokens),
        ("an overlap of {} tokens", manifest.overlap, asked.overlap),
    ):
        if wish is not None and wish != have:
            raise IndexMismatchError(
                f"the index was made with {what.format(have)}, not {wish}; leave the option out, or make "
                f"the index anew with --rebuild"
            )
    return _with_models(manifest, registry, asked.models) if asked.models else manifest


def _with_models(manifest: Manifest, registry: Registry, names: Sequence[str]) -> Manifest:
    specs = registry.select(names)
    asked = tuple(record_of(spec, name) for spec, name in zip(specs, names, strict=True))
    if any(record not in asked for record in manifest.models):
        have = ",".join(record.name for record in manifest.models)
        raise IndexMismatchError(
            f"the index holds {have}, not just {','.join(record.name for record in asked)}; leave --models "
            f"out, name a further model behind those, or make the index anew with --rebuild"
        )
    in_words = all(registry.find(record.name).max_tokens is None for record in manifest.models)
    for spec in specs:
        check_backend(spec)
        if spec.max_tokens is not None and (in_words or spec.max_tokens < manifest.chunk_tokens):
            raise IndexMismatchError(
                f"{spec.key} takes {spec.max_tokens} tokens and chunks here have {manifest.chunk_tokens} "
                f"{'words' if in_words else 'tokens'}; make the index anew with --rebuild"
            )
    further = tuple(record for record in asked if record not in manifest.models)
    return replace(
        manifest,
        models=manifest.models + further,
        incomplete=manifest.incomplete + tuple(record.vector_name for record in further),
    )
