"""What an index or a pack is made with: models and how they run, and how texts are cut into chunks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from typing import ClassVar, Literal, TypeAlias, TypeVar

from vecloom.arguments import check_integer, check_mapping, check_number, check_texts, describe_value
from vecloom.encoders.backends import ANYHOW, Backend, How, Precision, Runs, precisions_of, runs_of
from vecloom.encoders.rows import prompts_of
from vecloom.errors import IndexMismatchError, UsageError
from vecloom.registry import DEFAULT_MODELS, ModelSpec, Registry
from vecloom.types import Schema

#: The budget where no chosen model recommends less, and where only word-based models are chosen.
LARGEST_DEFAULT_TOKENS = 512
WORDS_ALONE_TOKENS = 256

#: What can be asked for.
LEAST_TOKENS = 32
MOST_TOKENS = 32768

#: BM25's average length, in words: for all models that have one, by vector name, or to be measured.
AvgLen: TypeAlias = float | Mapping[str, float] | Literal["auto"]


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model: its row's key (or ``KEY:DIM``), hashes of its settings and files, how it runs.

    ``weights_hash`` is "" until the files are known. ``avg_len``: BM25's average length in place of the row's
    own; None where that holds.
    """

    name: str
    vector_name: str
    settings_hash: str
    backend: Backend
    precision: Precision
    weights_hash: str = field(default="", compare=False)
    avg_len: float | None = None

    def __post_init__(self) -> None:
        if self.avg_len is not None and not 0 < self.avg_len < math.inf:
            raise ValueError(f"an average length of {self.avg_len} words")

    @property
    def runs(self) -> Runs:
        """How its vectors are computed."""
        return Runs(self.backend, self.precision)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asks of an index or pack: models by any name, chunk budget, overlap, how models run.

    Empty, None: no wish. ``avg_len`` "auto" is for a rebuild only.
    """

    models: tuple[str, ...] = ()
    chunk_tokens: int | None = None
    overlap: int | None = None
    how: How = ANYHOW
    avg_len: AvgLen | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(check_texts("models", self.models)))
        for name in ("chunk_tokens", "overlap"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_integer(name, getattr(self, name)))
        if not isinstance(self.how, How):
            raise UsageError(f"how is {describe_value(self.how)}; give a vecloom.How")
        if isinstance(self.avg_len, Mapping):
            for name, length in check_mapping("avg_len", self.avg_len, "{'bm25-code': 120}").items():
                check_number(f"avg_len[{name!r}]", length)
        elif self.avg_len not in (None, "auto"):
            check_number("avg_len", self.avg_len)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the chunks and the vectors.

    ``counted_by``: vector names of the models whose tokens the chunks are counted in (none: words). ``task``:
    which of the models' prompts its documents were given (None: their first).
    """

    #: What is made by it, and how another one is had instead.
    noun: ClassVar[str] = "index"
    anew: ClassVar[str] = "make the index anew with --rebuild"

    models: tuple[ModelRecord, ...]
    chunk_tokens: int
    overlap: int = 0
    counted_by: tuple[str, ...] = ()
    task: str | None = None
    chunker: int = 0
    created_with: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The vector names."""
        return tuple(record.vector_name for record in self.models)

    def specs(self, registry: Registry) -> tuple[ModelSpec, ...]:
        """The rows of the recorded models, with the average length that is recorded.

        Raises:
            IndexMismatchError: a row is gone, or its settings changed since.
        """
        specs = []
        for record in self.models:
            try:
                spec = registry.find(record.name)
            except UsageError as error:
                raise IndexMismatchError(f"the {self.noun} was made with {record.name}: {error}") from None
            if spec.settings_hash != record.settings_hash:
                raise IndexMismatchError(
                    f"the row of {record.name} changed since the {self.noun} was made; restore it in the "
                    f"config, or {self.anew}"
                )
            if record.avg_len is not None:
                spec = replace(spec, settings={**spec.settings, "avg_len": record.avg_len})
            specs.append(spec)
        return tuple(specs)

    @property
    def avg_lens(self) -> dict[str, float]:
        """Vector name -> its average length, where that is not the row's own."""
        return {record.vector_name: record.avg_len for record in self.models if record.avg_len is not None}

    def schema(self, registry: Registry) -> Schema:
        """The store's schema: one named vector a model."""
        return Schema(tuple(spec.vector_field for spec in self.specs(registry)))

    def differences(self, other: Recipe) -> list[str]:
        """What keeps points of both from living together, in words; models that only one has do not."""
        found = [
            f"{name} is {getattr(self, name)!r} here and {getattr(other, name)!r} there"
            for name in ("chunk_tokens", "overlap", "task", "chunker")
            if getattr(self, name) != getattr(other, name)
        ]
        there = {record.vector_name: record for record in other.models}
        for mine in self.models:
            theirs = there.get(mine.vector_name, mine)
            found += [
                f"{part.name} of {mine.vector_name} is {getattr(mine, part.name)} here and "
                f"{getattr(theirs, part.name)} there"
                for part in fields(ModelRecord)
                if getattr(mine, part.name) != getattr(theirs, part.name)
            ]
        return found

    def same_settings(self, other: Recipe) -> bool:
        """Whether both are made alike, from the same files of the models."""
        mine, theirs = (
            ([astuple(model) for model in m.models], m.chunk_tokens, m.overlap, m.task) for m in (self, other)
        )
        return mine == theirs

    def asked_again(self, registry: Registry, asked: Asked) -> Asked:
        """What is asked of a rebuild: where there is no wish, what this one was made with.

        How models run is chosen anew: for this machine.

        Raises:
            UnknownModelError: a model that no row answers to.
        """
        same = not asked.models and asked.chunk_tokens is None
        models = asked.models or tuple(record.name for record in self.models)
        names = [spec.vector_name for spec in registry.select(models)]
        kept = {name: length for name, length in self.avg_lens.items() if name in names}
        return Asked(
            models,
            self.chunk_tokens if same else asked.chunk_tokens,
            self.overlap if asked.overlap is None else asked.overlap,
            replace(asked.how, task=asked.how.task or self.task),
            (kept or None) if asked.avg_len is None else asked.avg_len,
        )


R = TypeVar("R", bound=Recipe)


def records_of(specs: Sequence[ModelSpec], names: Sequence[str], asked: Asked) -> tuple[ModelRecord, ...]:
    """The records of rows chosen by ``names`` (whose ``:DIM``, if any, is kept), and run as asked.

    Raises:
        UsageError: none of the rows can be run as asked, or has the average length that is asked.
        DeviceError: the device that is asked for is not there.
    """
    keys = [
        f"{spec.key}:{dim}" if (dim := name.partition(":")[2]) else spec.key
        for spec, name in zip(specs, names, strict=True)
    ]
    lengths = avg_lens_of(specs, asked.avg_len)
    return tuple(
        ModelRecord(
            key,
            spec.vector_name,
            spec.settings_hash,
            run.backend,
            run.precision,
            avg_len=None if spec.settings.get("avg_len") == length else length,
        )
        for key, spec, run in zip(keys, specs, runs_of(specs, asked.how), strict=True)
        for length in [lengths.get(spec.vector_name)]
    )


def avg_lens_of(specs: Sequence[ModelSpec], asked: AvgLen | None) -> dict[str, float]:
    """Vector name -> the average length that is asked of it.

    Raises:
        UsageError: none of the rows has one, it is not above 0, or it would have to be measured.
    """
    if asked is None:
        return {}
    if asked == "auto":
        raise UsageError(
            "an average length is counted by a rebuild of an index that is there (--rebuild --avg-len auto); "
            "else name a number of words"
        )
    having = weighing_lengths(specs)
    lengths = dict(asked) if isinstance(asked, Mapping) else dict.fromkeys(having, float(asked))
    for name, length in lengths.items():
        if name not in having:
            raise UsageError(f"{name} has no average length; of these models {', '.join(having)} have one")
        if not 0 < length < math.inf:
            raise UsageError(f"an average length is a number of words above 0, not {length:g}")
    return lengths


def weighing_lengths(specs: Sequence[ModelSpec]) -> list[str]:
    """The vector names of rows that weigh words by an average length.

    Raises:
        UsageError: there are none.
    """
    having = [spec.vector_name for spec in specs if "avg_len" in spec.settings]
    if not having:
        keys = ", ".join(spec.key for spec in specs)
        raise UsageError(
            f"none of {keys} has an average length, as bm25-code and qdrant-bm25 have; leave --avg-len out"
        )
    return having


def default_tokens(specs: Sequence[ModelSpec]) -> int:
    """The chunk budget when none is asked: the smallest recommended length (or limit), at most 512."""
    lengths = [spec.recommended_tokens or spec.max_tokens for spec in specs]
    limits = [length for length in lengths if length is not None]
    return min([LARGEST_DEFAULT_TOKENS, *limits]) if limits else WORDS_ALONE_TOKENS


def new_recipe(registry: Registry, asked: Asked) -> Recipe:
    """The recipe of something new.

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
    return Recipe(
        models=records_of(specs, names, asked),
        chunk_tokens=tokens,
        overlap=overlap,
        counted_by=tuple(spec.vector_name for spec in specs if spec.max_tokens is not None),
        task=asked.how.task,
    )


def changed(recipe: R, registry: Registry, asked: Asked) -> R:
    """The recipe with what is asked of what was made by it: nothing but further models can be had.

    Raises:
        IndexMismatchError: another budget, overlap, average length, task, backend or precision, a recorded
            model left out, or a further one that does not fit the budget.
        UsageError: a backend, precision, device or task that there is not, or that no model has.
        DeviceError: the device is not there, or lacks the precision.
    """
    for what, have, wish in (
        ("chunks of {} tokens", recipe.chunk_tokens, asked.chunk_tokens),
        ("an overlap of {} tokens", recipe.overlap, asked.overlap),
    ):
        if wish is not None and wish != have:
            raise IndexMismatchError(
                f"the {recipe.noun} was made with {what.format(have)}, not {wish}; leave the option out, or "
                f"{recipe.anew}"
            )
    if asked.how != ANYHOW:
        specs = [*recipe.specs(registry), *(registry.select(asked.models) if asked.models else ())]
        runs_of(specs, asked.how)
    _check_how(recipe, registry, asked.how)
    _check_avg_len(recipe, registry, asked)
    return _with_models(recipe, registry, asked) if asked.models else recipe


def _check_how(recipe: Recipe, registry: Registry, how: How) -> None:
    """Refuse another way to run the recorded models than the one that their vectors were computed in."""
    specs = recipe.specs(registry)
    for record, spec in zip(recipe.models, specs, strict=True):
        for have, wish, offered in (
            (record.backend, how.backend, spec.backends),
            (record.precision, how.precision, precisions_of(record.backend)),
        ):
            if wish in offered and wish != have:
                raise IndexMismatchError(
                    f"the vectors of {record.name} were computed with {have}, not {wish}; leave the option "
                    f"out, or {recipe.anew}"
                )
        if how.task is not None and _document_prompt(spec, how.task) != _document_prompt(spec, recipe.task):
            raise IndexMismatchError(
                f"the documents of {record.name} were encoded for {recipe.task or 'its first task'}, which "
                f"does not serve {how.task}; {recipe.anew} --task {how.task}"
            )


def _check_avg_len(recipe: Recipe, registry: Registry, asked: Asked) -> None:
    """Refuse another average length than the one that the vectors were computed with."""
    specs = recipe.specs(registry)
    further = registry.select(asked.models) if asked.models else ()
    rows = {spec.vector_name: spec for spec in (*further, *specs)}
    wished = avg_lens_of(tuple(rows.values()), asked.avg_len)
    for spec in specs:
        wish = wished.get(spec.vector_name)
        have = float(spec.settings.get("avg_len", 0))
        if wish not in (None, have):
            raise IndexMismatchError(
                f"the vectors of {spec.key} were computed with an average length of {have:g} words, not "
                f"{wish:g}; leave the option out, or {recipe.anew}"
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


def _with_models(recipe: R, registry: Registry, wanted: Asked) -> R:
    names = wanted.models
    specs = registry.select(names)
    known = {record.name: record for record in recipe.models}
    asked = tuple(known.get(record.name, record) for record in records_of(specs, names, wanted))
    if any(record not in asked for record in recipe.models):
        have = ",".join(record.name for record in recipe.models)
        raise IndexMismatchError(
            f"the {recipe.noun} holds {have}, not just {','.join(record.name for record in asked)}; leave "
            f"--models out, name a further model behind those, or {recipe.anew}"
        )
    in_words = all(registry.find(record.name).max_tokens is None for record in recipe.models)
    for spec in specs:
        if spec.max_tokens is not None and (in_words or spec.max_tokens < recipe.chunk_tokens):
            raise IndexMismatchError(
                f"{spec.key} takes {spec.max_tokens} tokens and chunks here have {recipe.chunk_tokens} "
                f"{'words' if in_words else 'tokens'}; {recipe.anew}"
            )
    further = tuple(record for record in asked if record not in recipe.models)
    return replace(recipe, models=recipe.models + further, task=wanted.how.task or recipe.task)
