"""What needs no index: the chunks of trees, the vectors of texts, the order of texts for a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecloom.arguments import check_texts, describe_value
from vecloom.config import Config, load_config
from vecloom.encoders.backends import ANYHOW, How, devices_of, query_runs, runs_of
from vecloom.engine import Engine
from vecloom.errors import UsageError
from vecloom.pipeline.encoding import Encoding, encode_documents
from vecloom.pipeline.naming import name_sources
from vecloom.pipeline.report import Listener, quiet
from vecloom.pipeline.reranking import Reranker
from vecloom.pipeline.setup import (
    chunking_for,
    engine_of,
    passes_for,
    with_pooling,
)
from vecloom.recipe import Asked, new_recipe
from vecloom.registry import DEFAULT_MODELS, Role
from vecloom.weights import unheard

if TYPE_CHECKING:
    from vecloom.encoders.load import Pass
    from vecloom.pipeline.reading import ChunkSettings, ReadFile
    from vecloom.sources import Skip
    from vecloom.types import Vectors

__all__ = ["Reranker", "TextEncoder", "chunk_trees", "encode_texts", "generate_sparse_vectors"]


def chunk_trees(roots: Sequence[Path], asked: Asked, config: Config) -> Iterator[ReadFile | Skip]:
    """Files below ``roots`` with the chunks that an index made as asked would have, and what has none.

    Raises:
        UsageError: a root that does not exist.
        WeightsError: a model's tokenizer cannot be had.
    """
    recipe = new_recipe(config.registry(), asked)
    specs = recipe.specs(config.registry())
    engine = engine_of(passes_for(specs, config, how=asked.how))
    chunking = chunking_for(recipe.counted_by, engine, recipe.chunk_tokens, recipe.overlap, config.cache_dir)
    return _chunked(name_sources({}, roots, None), chunking)


def _chunked(sources: Mapping[str, Path], chunking: ChunkSettings) -> Iterator[ReadFile | Skip]:
    from vecloom.pipeline.reading import chunk_reader, read_trees
    from vecloom.sources import ScanOptions, Skip, lost_parts

    skips: list[Skip] = []
    with chunk_reader(chunking) as reader:
        for _, found in reader.read_all(read_trees(sources, ScanOptions(), skips.append)):
            yield found
            if not isinstance(found, Skip):
                yield from lost_parts(found.document)
    yield from skips


class TextEncoder:
    """Models for plain texts, as documents and as queries, without an index.

        encoder = TextEncoder(["bge-m3", "qdrant-bm25"])
        encoder.documents(texts).vectors["bge-m3"]      # float32 [texts, 1024]
        encoder.queries(["where are retries configured"])["bm25"]

    Texts are taken as they are: no context header, and what a model's hard limit cuts is counted.
    """

    def __init__(
        self,
        models: Sequence[str] = DEFAULT_MODELS,
        *,
        how: How = ANYHOW,
        config: Config | None = None,
        notice: Callable[[str], None] = unheard,
    ) -> None:
        """``models``: keys, aliases, vector names or hub ids; ``KEY:DIM`` cuts a dimension.

        ``how``: backend, precision, device, and the task whose prompts are put before the texts. ``notice``
        takes lines for a person. Nothing is loaded here, and no weights are fetched but those of a row that
        does not say how its model pools.

        Raises:
            UnknownModelError: a model that no row answers to.
            UsageError: a model that cannot be run, or not as asked.
            DeviceError: the device is not there, or lacks the precision.
            MissingExtraError: a backend is not installed.
        """
        self._config = config or load_config()
        self._how = how
        self._notice = notice
        specs = self._config.registry().select(check_texts("models", models))
        self.runs = tuple(runs_of(specs, how))
        self.specs = tuple(with_pooling(spec, self._config, notice) for spec in specs)

    @property
    def devices(self) -> tuple[str, ...]:
        """Where the models run: on these GPUs as far as they can, else on the CPU."""
        on_torch = any(run.backend == "torch" for run in self.runs)
        return devices_of(self._how.device) if on_torch else ("cpu",)

    @cached_property
    def passes(self) -> list[Pass]:
        """What runs the models; their files are fetched if they are not here.

        Raises:
            WeightsError: a model's files cannot be had.
        """
        return passes_for(self.specs, self._config, self._notice, self.runs, self._how)

    @cached_property
    def _query_engine(self) -> Engine:
        device = self._how.device
        fitting = [query_runs(spec, run, device) for spec, run in zip(self.specs, self.runs, strict=True)]
        return engine_of(passes_for(self.specs, self._config, self._notice, fitting, self._how))

    def documents(
        self,
        texts: Sequence[str],
        *,
        using: Sequence[str] = (),
        terms: bool = False,
        listener: Listener = quiet,
    ) -> Encoding:
        """Vectors of stored texts by vector name (those of ``using``, or all), and what they cost.

        Dense ones are float32 [texts, dim], sparse ones `SparseRows`, multivectors a matrix for each text.
        Equal texts are encoded once. ``terms``: also tell what sparse indices stand for.

        Raises:
            UsageError: texts that are no list of strings, or a name that no model fills.
            WeightsError: a model's files cannot be had or read.
            EncodingError: a model gave NaN or infinity, or a text does not fit the device's memory.
        """
        names = self._names(using)
        return encode_documents(
            check_texts("texts", texts),
            self.passes,
            names,
            terms=terms,
            notice=self._notice,
            listener=listener,
        )

    def queries(self, texts: Sequence[str], *, using: Sequence[str] = ()) -> dict[str, Vectors]:
        """Vectors of search queries by vector name (those of ``using``, or all).

        The models stay loaded, on one device.

        Raises:
            UsageError: texts that are no list of strings, or a name that no model fills.
            WeightsError: a model's files cannot be had or read.
            EncodingError: a model gave NaN or infinity.
        """
        return self._query_engine.encode_queries(check_texts("texts", texts), self._names(using))

    def _names(self, using: Sequence[str]) -> tuple[str, ...]:
        known = tuple(spec.vector_name for spec in self.specs)
        using = check_texts("using", using)
        unknown = [name for name in using if name not in known]
        if unknown:
            raise UsageError(f"no model here fills the vector {unknown[0]!r}; there are {', '.join(known)}")
        return tuple(using) or known


def encode_texts(
    texts: Sequence[str],
    models: Sequence[str] = DEFAULT_MODELS,
    *,
    role: Role = "document",
    how: How = ANYHOW,
    config: Config | None = None,
    notice: Callable[[str], None] = unheard,
    listener: Listener = quiet,
) -> Encoding:
    """Vectors of plain texts by vector name, as documents or as queries: `TextEncoder`, used once.

    Queries are not counted: their ``costs`` are empty.

    Raises:
        UsageError: texts or models that are no list of strings, or an unknown role; and as `TextEncoder`.
    """
    texts = check_texts("texts", texts)
    if role not in ("document", "query"):
        raise UsageError(f"role is {describe_value(role)}; it is 'document' or 'query'")
    encoder = TextEncoder(models, how=how, config=config, notice=notice)
    if role == "document":
        return encoder.documents(texts, listener=listener)
    return Encoding(encoder.queries(texts), {}, {}, windows=1)


def generate_sparse_vectors(texts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """BM25 and attention (BM42) vectors of texts, the documents' side, as plain lists.

    ``{"bm25": [{"indices", "values", "tokens"}, ...], "attention": [...]}``, one entry a text; ``tokens``
    are the stems behind the indices.

    Raises:
        UsageError: texts that are no list of strings.
        WeightsError: the attention model's files cannot be had.
    """
    texts = check_texts("texts", texts)
    encoder = TextEncoder(["qdrant-bm25", "qdrant-minilm-attention"])
    encoding = encoder.documents(texts, terms=True)
    found = (encoding.sparse_lists(spec.vector_name) for spec in encoder.specs)
    return dict(zip(("bm25", "attention"), found, strict=True))
