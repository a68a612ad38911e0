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

from vecloom.encoders.backends import ANYHOW, Backend, How, Precision, Runs, precisions_of, runs_of
from vecloom.encoders.rows import prompts_of
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
    """A model of the index: its row's key (or ``KEY:DIM``), hashes of its settings and files, how it runs.

    ``weights_hash`` is "" until the files are known.
    """

    name: str
    vector_name: str
    settings_hash: str
    backend: Backend
    precision: Precision
    weights_hash: str = field(default="", compare=False)

    @property
    def runs(self) -> Runs:
        """How its vectors are computed."""
        return Runs(self.backend, self.precision)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index was made with.

    ``counted_by``: vector names of the models whose tokens the chunks are counted in (none: words). ``task``:
    which of the models' prompts its documents were given (None: their first).
    ``sources``: name -> absolute root (kept on this machine only). ``unfinished``: sources that an index run
    began to read and has not read to the end. ``incomplete``: vector names that some points lack.
    """

    models: tuple[ModelRecord, ...]
    chunk_tokens: int
    overlap: int = 0
    counted_by: tuple[str, ...] = ()
    task: str | None = None
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
            ([astuple(model) for model in m.models], m.chunk_tokens, m.overlap, m.task) for m in (self, other)
        )
        return mine == theirs

    def asked_again(self, asked: Asked) -> Asked:
        """What is asked of a rebuild: where there is no wish, what this index was made with.

        How models run is chosen anew: for this machine.
        """
        same = not asked.models and asked.chunk_tokens is None
        return Asked(
            asked.models or tuple(record.name for record in self.models),
            self.chunk_tokens if same else asked.chunk_tokens,
            self.overlap if asked.overlap is None else asked.overlap,
            replace(asked.how, task=asked.how.task or self.task),
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


def records_of(specs: Sequence[ModelSpec], names: Sequence[str], how: How) -> tuple[ModelRecord, ...]:
    """The records of rows chosen by ``names`` (whose ``:DIM``, if any, is kept), and run as asked.

    Raises:
        UsageError: none of the rows can be run as asked.
        DeviceError: the device that is asked for is not there.
    """
    keys = [
        f"{spec.key}:{dim}" if (dim := name.partition(":")[2]) else spec.key
        for spec, name in zip(specs, names, strict=True)
    ]
    return tuple(
        ModelRecord(key, spec.vector_name, spec.settings_hash, run.backend, run.precision)
        for key, spec, run in zip(keys, specs, runs_of(specs, how), strict=True)
    )


def default_tokens(specs: Sequence[ModelSpec]) -> int:
    """The chunk budget when none is asked: the smallest recommended length (or limit), at most 512."""
    lengths = [spec.recommended_tokens or spec.max_tokens for spec in specs]
    limits = [length for length in lengths if length is not None]
    return min([LARGEST_DEFAULT_TOKENS, *limits]) if limits else WORDS_ALONE_TOKENS


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
        said |= {name: tuple(said[name]) for name in ("counted_by", "incomplete", "unfinished")}
        return Manifest(models=models, **said)
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
    """What a user asks of an index: models by any name, chunk budget, overlap, how models run.

    Empty, None: no wish.
    """

    models: tuple[str, ...] = ()
    chunk_tokens: int | None = None
    overlap: int | None = None
    how: How = ANYHOW


def new_manifest(registry: Registry, asked: Asked) -> Manifest:
    """The manifest of a new index.

    Raises:
        UnknownModelError: a model that no row answers to.
        UsageError: a budget or overlap out of range.
    """
    names = asked.models or DEFAULT_MODELS
    specs = registry.select(names)
    tokens = default_tokens(specs) if asked.chunk_tokens is None else asked.chunk_tokens
    overlap = asked.overlap or 0
    largest = min(spec.max_tokens or MOST_TOKENS for spec in specs)
    if not LEAST_TOKENS <= tokens <= largest:
        raise UsageError(
            f"chunks of {tokens} tokens do not suit these models; take {LEAST_TOKENS} to {largest}"
        )
    if not 0 <= overlap <= tokens // 2:
        raise UsageError(f"an overlap of {overlap} tokens does not suit chunks of {tokens}; at most half")
    return Manifest(
        models=records_of(specs, names, asked.how),
        chunk_tokens=tokens,
        overlap=overlap,
        counted_by=tuple(spec.vector_name for spec in specs if spec.max_tokens is not None),
        task=asked.how.task,
    )


def changed(manifest: Manifest, registry: Registry, asked: Asked) -> Manifest:
    """The manifest with what is asked of an existing index: only further models can be had without a rebuild.

    Raises:
        IndexMismatchError: another budget, overlap, task, backend or precision, a recorded model left out, or
            a further one that does not fit the budget.
        UsageError: a backend, precision, device or task that there is not, or that no model has.
        DeviceError: the device is not there, or lacks the precision.
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
    if asked.how != ANYHOW:
        specs = [*manifest.specs(registry), *(registry.select(asked.models) if asked.models else ())]
        runs_of(specs, asked.how)
    _check_how(manifest, registry, asked.how)
    return _with_models(manifest, registry, asked) if asked.models else manifest


def _check_how(manifest: Manifest, registry: Registry, how: How) -> None:
    """Refuse another way to run the recorded models than the one that their vectors were computed in."""
    specs = manifest.specs(registry)
    for record, spec in zip(manifest.models, specs, strict=True):
        for have, wish, offered in (
            (record.backend, how.backend, spec.backends),
            (record.precision, how.precision, precisions_of(record.backend)),
        ):
            if wish in offered and wish != have:
                raise IndexMismatchError(
                    f"the vectors of {record.name} were computed with {have}, not {wish}; leave the option "
                    f"out, or make the index anew with --rebuild"
                )
        if how.task is not None and _document_prompt(spec, how.task) != _document_prompt(spec, manifest.task):
            raise IndexMismatchError(
                f"the documents of {record.name} were encoded for {manifest.task or 'its first task'}, which "
                f"does not serve {how.task}; make the index anew with --rebuild --task {how.task}"
            )


def query_task(specs: Sequence[ModelSpec], recorded: str | None, asked: str | None) -> str | None:
    """The task whose prompts queries are given: the one asked for, else that of the documents.

    Raises:
        UsageError: no row knows it, or a row's documents were encoded for a task that does not serve it.
    """
    if asked is None:
        return recorded
    if not any(asked in spec.prompts for spec in specs):
        tasks = ", ".join(dict.fromkeys(task for spec in specs for task in spec.prompts)) or "none"
        raise UsageError(f"no model of the index knows the task {asked!r}; there are {tasks}")
    for spec in specs:
        if asked in spec.prompts and _document_prompt(spec, asked) != _document_prompt(spec, recorded):
            raise UsageError(
                f"the documents of {spec.key} were encoded for {recorded or 'its first task'}, which does "
                f"not serve {asked}; make the index anew: vecloom index --rebuild --task {asked}"
            )
    return asked


def _document_prompt(spec: ModelSpec, task: str | None) -> str:
    return prompts_of([spec], task).get("document", "")


def _with_models(manifest: Manifest, registry: Registry, wanted: Asked) -> Manifest:
    names = wanted.models
    specs = registry.select(names)
    known = {record.name: record for record in manifest.models}
    asked = tuple(known.get(record.name, record) for record in records_of(specs, names, wanted.how))
    if any(record not in asked for record in manifest.models):
        have = ",".join(record.name for record in manifest.models)
        raise IndexMismatchError(
            f"the index holds {have}, not just {','.join(record.name for record in asked)}; leave --models "
            f"out, name a further model behind those, or make the index anew with --rebuild"
        )
    in_words = all(registry.find(record.name).max_tokens is None for record in manifest.models)
    for spec in specs:
        if spec.max_tokens is not None and (in_words or spec.max_tokens < manifest.chunk_tokens):
            raise IndexMismatchError(
                f"{spec.key} takes {spec.max_tokens} tokens and chunks here have {manifest.chunk_tokens} "
                f"{'words' if in_words else 'tokens'}; make the index anew with --rebuild"
            )
    further = tuple(record for record in asked if record not in manifest.models)
    return replace(
        manifest,
        models=manifest.models + further,
        task=wanted.how.task or manifest.task,
        incomplete=manifest.incomplete + tuple(record.vector_name for record in further),
    )
