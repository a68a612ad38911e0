"""V4's class: what it keeps between loading, encoding, searching and exporting."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecloom.compat.chunks import Found, read_chunks
from vecloom.compat.ensemble import aggregate, check_ensemble
from vecloom.compat.export import Encoded, write_files, write_points
from vecloom.compat.models import SPARSE_MODELS, choose_dense, choose_reranker, with_rows
from vecloom.compat.nearest import best, cosines
from vecloom.compat.places import DEFAULT_CHUNKS, chunks_folder, is_kaggle
from vecloom.compat.selection import select, text_encoder, torch_device
from vecloom.compat.settings import (
    AdvancedPreprocessingConfig,
    AdvancedTextCache,
    EnsembleConfig,
    KaggleExportConfig,
    KaggleGPUConfig,
    RerankingConfig,
)
from vecloom.compat.texts import (
    Target,
    described,
    own_sparse_vector,
    preprocessed,
    target_collection,
)
from vecloom.compat.told import Ran, results_of, stats_of, summary_of
from vecloom.config import load_config
from vecloom.encoders.backends import How
from vecloom.errors import UsageError
from vecloom.pipeline.report import quiet
from vecloom.standalone import Reranker, TextEncoder, generate_sparse_vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vecloom.pipeline.encoding import Encoding
    from vecloom.pipeline.report import Progress

logger = logging.getLogger("vecloom.compat.v4")

#: The vector name of an ensemble where it stands beside others.
_ENSEMBLE = "ensemble"
_VERSION = "v4"


@dataclass(frozen=True, slots=True)
class DenseModel:
    """A dense model of an embedder; what V4's ``models`` and ``primary_model`` hold."""

    name: str
    _vector: str
    _encoder: TextEncoder

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of stored texts, float32 [texts, dim]."""
        vectors = self._encoder.documents(sentences, using=[self._vector]).vectors
        return _dense(vectors[self._vector])

    def encode_query(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of search queries, float32 [texts, dim]."""
        return _dense(self._encoder.queries(sentences, using=[self._vector])[self._vector])


class UltimateKaggleEmbedderV4:
    """Chunks to the vectors of one dense model, of companions and sparse models, and to files.

    ``embeddings`` float32 [chunks, dim]: the model's, or the ensemble's. ``embeddings_by_model``: every dense
    model's, by key. ``sparse_vectors``: for each chunk {vector name: {indices, values, tokens}} with
    ``enable_sparse``, else V4's own entry or None. ``raw_chunk_texts`` as they were read, ``chunk_texts`` as
    they are encoded.
    """

    def __init__(
        self,
        model_name: str = "nomic-coderank",
        gpu_config: KaggleGPUConfig | None = None,
        export_config: KaggleExportConfig | None = None,
        preprocessing_config: AdvancedPreprocessingConfig | None = None,
        enable_ensemble: bool = False,
        ensemble_config: EnsembleConfig | None = None,
        reranking_config: RerankingConfig | None = None,
        companion_dense_models: Sequence[str] | None = None,
        enable_sparse: bool = False,
        sparse_models: Sequence[str] | None = None,
        matryoshka_dim: int | None = None,
    ) -> None:
        """Models are named by key or hub id; nothing is loaded yet.

        ``matryoshka_dim`` cuts the vectors of ``model_name``. ``sparse_models``: all of `SPARSE_MODELS`
        unless some are named. With ``enable_ensemble`` the models of ``ensemble_config`` take the place of
        ``model_name``.

        Raises:
            UnknownModelError: a model that nobody knows; the message names those that there are.
            UsageError: a model, backend, dimension or ensemble that cannot be had.
            DeviceError: a GPU lacks the precision.
            MissingExtraError: PyTorch is not installed, and a model runs on it.
        """
        self.gpu_config = gpu_config or KaggleGPUConfig()
        self.export_config = export_config or KaggleExportConfig()
        self.preprocessing_config = preprocessing_config or AdvancedPreprocessingConfig()
        self.enable_ensemble = enable_ensemble
        self.ensemble_config = ensemble_config or EnsembleConfig()
        self.reranking_config = reranking_config or RerankingConfig()
        self.enable_sparse = enable_sparse
        self.is_kaggle = is_kaggle()
        self._config = load_config()
        primary = choose_dense(model_name, self._config.registry())
        if enable_ensemble and matryoshka_dim is not None:
            raise UsageError(
                f"matryoshka_dim={matryoshka_dim} cuts model_name, which an ensemble replaces; leave one out"
            )
        if sparse_models and not enable_sparse:
            logger.warning("sparse_models are named, but enable_sparse is False: none of them runs")
        self._selection = select(
            self._config,
            self.ensemble_config.ensemble_models if enable_ensemble else [model_name],
            companion_dense_models or (),
            (sparse_models or tuple(SPARSE_MODELS)) if enable_sparse else (),
            matryoshka_dim,
        )
        if enable_ensemble:
            check_ensemble(self._selection.dims, self.ensemble_config)
        self.model_name = primary.key
        self.model_config = primary.entry if enable_ensemble else self._selection.main[0].entry
        self._encoder = text_encoder(self._selection, self.gpu_config, self._config)
        self.reranker = self._reranker() if self.reranking_config.enable_reranking else None
        self.text_cache = AdvancedTextCache(self.preprocessing_config.max_cache_size)
        self._forget()

    def _reranker(self) -> Reranker:
        row = choose_reranker(self.reranking_config.model_name, self._config.registry())
        how = How(device=torch_device(self.gpu_config))
        return Reranker(row.key, how=how, config=with_rows(self._config, [row]), notice=logger.warning)

    def _forget(self) -> None:
        """Begin without chunks and vectors."""
        self.chunks_metadata: list[dict[str, Any]] = []
        self.chunk_texts: list[str] = []
        self.raw_chunk_texts: list[str] = []
        self.sparse_vectors: list[dict[str, Any] | None] = []
        self.embeddings: NDArray[np.float32] | None = None
        self.embeddings_by_model: dict[str, NDArray[np.float32]] = {}
        self.processing_stats: dict[str, Any] = {}
        self._collections: list[str] = []
        self._root = ""

    @property
    def device(self) -> str:
        """``cuda`` where a model runs on a GPU, else ``cpu``."""
        return self._encoder.devices[0].partition(":")[0]

    @property
    def device_count(self) -> int:
        """GPUs that models run on."""
        return sum(device != "cpu" for device in self._encoder.devices)

    @property
    def models(self) -> dict[str, DenseModel]:
        """The dense models by key."""
        dense = self._selection.dense
        return {one.key: DenseModel(one.key, one.row.vector_name, self._encoder) for one in dense}

    @property
    def primary_model(self) -> DenseModel:
        """The dense model that comes first."""
        return self.models[self._selection.main[0].key]

    def get_target_collection_name(self) -> str:
        """The Qdrant collection that the export is for."""
        name = self._collections[0] if len(self._collections) == 1 else self._root
        return target_collection(name or "chunks", self.model_name)

    def preprocess_text_advanced(self, text: str) -> str:
        """A text as it is encoded: its lines and their indentation stay; see `preprocessed`."""
        if not self.preprocessing_config.enable_text_caching:
            return preprocessed(text, self.preprocessing_config)
        return self.text_cache.get_processed_text(
            text, lambda raw: preprocessed(raw, self.preprocessing_config)
        )

    def load_chunks_from_processing(
        self,
        chunks_dir: str | Path = DEFAULT_CHUNKS,
        collection_name: str | None = None,
        single_collection_mode: bool = False,
    ) -> dict[str, Any]:
        """Read chunks (see `vecloom.compat.chunks` for their files) in place of those read before.

        Left out are only empty texts and chunks that say a token_count of 0 or less: ``skipped_chunks`` lists
        them. ``loading_errors`` tells what could not be read, ``ignored_files`` which files are no chunks
        (summaries, earlier exports, what lies beside files named as chunks). With ``collection_name`` or
        ``single_collection_mode`` all is one collection.
        """
        root = chunks_folder(chunks_dir)
        if root is None:
            logger.warning("there are no chunks at %s; name their folder as chunks_dir", chunks_dir)
            return {"error": f"there is no folder of chunks at {chunks_dir}"}
        found = read_chunks(
            root,
            name=collection_name,
            single=single_collection_mode,
            prefix=self.export_config.output_prefix,
        )
        self._forget()
        self._root = root.resolve().name
        self._take(found)
        for problem in found.errors:
            logger.warning("%s", problem)
        if found.skipped:
            logger.warning("%d chunks are skipped; see skipped_chunks", len(found.skipped))
        return summary_of(found, self.chunks_metadata, self.sparse_vectors, self.text_cache)

    def _take(self, found: Found) -> None:
        dim = check_ensemble(self._selection.dims, self.ensemble_config) if self.enable_ensemble else None
        target = Target(self.model_name, dim or self.model_config.vector_dim, _now())
        for number, chunk in enumerate(found.chunks):
            text = self.preprocess_text_advanced(chunk.text)
            metadata = described(chunk, text, number, target)
            sparse = None if self.enable_sparse else own_sparse_vector(metadata)
            if sparse is not None:
                metadata["sparse_vector"] = {key: sparse[key] for key in ("indices", "values")}
                metadata["sparse_vector_tokens"] = sparse["tokens"]
                metadata["sparse_vector_weight_norm"] = sparse["stats"]["weight_norm"]
            self.raw_chunk_texts.append(chunk.text)
            self.chunk_texts.append(text)
            self.chunks_metadata.append(metadata)
            self.sparse_vectors.append(sparse)
        self._collections = list(dict.fromkeys(chunk.collection for chunk in found.chunks))

    def generate_embeddings_kaggle_optimized(
        self, enable_monitoring: bool = True, save_intermediate: bool = True
    ) -> dict[str, Any]:
        """Encode the chunks by every model, and tell what that took.

        ``enable_monitoring``: log progress. ``save_intermediate`` has no effect.

        Raises:
            UsageError: no chunks are loaded.
            WeightsError: a model's files cannot be had or read.
            EncodingError: a model gave NaN or infinity, or a text does not fit the device's memory.
        """
        del save_intermediate
        if not self.chunk_texts:
            raise UsageError("no chunks are loaded; call load_chunks_from_processing first")
        started = time.perf_counter()
        encoding = self._encoder.documents(
            self.chunk_texts,
            terms=bool(self._selection.sparse),
            listener=_log_progress if enable_monitoring else quiet,
        )
        self._keep(encoding)
        self.processing_stats = results_of(self._ran(), encoding, time.perf_counter() - started)
        for name, cut in self.processing_stats["truncated"].items():
            logger.warning("%s: %d texts are longer than it takes; %d tokens are cut", name, *cut.values())
        return dict(self.processing_stats)

    def _keep(self, encoding: Encoding) -> None:
        vectors = encoding.vectors
        by_key = {one.key: _dense(vectors[one.row.vector_name]) for one in self._selection.dense}
        self.embeddings_by_model = by_key
        if self.enable_ensemble:
            main = {one.key: by_key[one.key] for one in self._selection.main}
            self.embeddings = aggregate(main, self.ensemble_config)
        else:
            self.embeddings = by_key[self.model_name]
        names = [row.vector_name for row in self._selection.sparse]
        if names:
            columns = [encoding.sparse_lists(name) for name in names]
            self.sparse_vectors = [
                dict(zip(names, entries, strict=True)) for entries in zip(*columns, strict=True)
            ]

    def _ran(self) -> Ran:
        chosen = self._selection
        return Ran(
            gpu=self.gpu_config,
            model=self.model_config,
            embeddings=self._embedded(),
            main=[one.row.vector_name for one in chosen.main],
            companions=[(one.entry, self.embeddings_by_model[one.key]) for one in chosen.further],
            runs=self._encoder.runs[0],
            gpus=self.device_count,
            on_kaggle=self.is_kaggle,
        )

    def _embedded(self) -> NDArray[np.float32]:
        if self.embeddings is None:
            raise UsageError("there are no embeddings; call generate_embeddings_kaggle_optimized first")
        return self.embeddings

    @cached_property
    def _ensemble(self) -> tuple[dict[str, str], TextEncoder]:
        """Key -> vector name of the ensemble's models, and what runs them."""
        selection = select(self._config, self.ensemble_config.ensemble_models)
        check_ensemble(selection.dims, self.ensemble_config)
        own = self._encoder if self.enable_ensemble else None
        names = {one.key: one.row.vector_name for one in selection.main}
        return names, own or text_encoder(selection, self.gpu_config, self._config)

    def generate_ensemble_embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of stored texts by the models of ``ensemble_config``, made one: float32 [texts, dim].

        Raises:
            UsageError: the models' dimensions differ where they must not, or weights do not belong to them.
        """
        names, encoder = self._ensemble
        vectors = encoder.documents(texts, using=tuple(names.values())).vectors
        return aggregate({key: _dense(vectors[name]) for key, name in names.items()}, self.ensemble_config)

    def generate_sparse_vectors(self, texts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """BM25 and attention vectors of texts; see `vecloom.standalone.generate_sparse_vectors`."""
        return generate_sparse_vectors(texts)

    def _query_vector(self, query: str) -> NDArray[np.float32]:
        if not query.strip():
            raise UsageError("the query is empty; say what to look for")
        names = {one.key: one.row.vector_name for one in self._selection.main}
        vectors = self._encoder.queries([query], using=tuple(names.values()))
        matrices = {key: _dense(vectors[name]) for key, name in names.items()}
        joined = aggregate(matrices, self.ensemble_config) if self.enable_ensemble else None
        vector: NDArray[np.float32] = (matrices[self.model_name] if joined is None else joined)[0]
        return vector

    def search_with_reranking(
        self, query: str, top_k: int = 20, initial_candidates: int = 100
    ) -> list[dict[str, Any]]:
        """The chunks nearest to a query, best first, of ``initial_candidates`` in the reranker's order if on.

        An entry: ``rank`` from 1, ``score`` (a cosine; the reranker's own number where it ranks, and
        ``embedding_similarity`` then), ``text``, ``metadata``, ``chunk_id``, the chunk's place.

        Raises:
            UsageError: there are no embeddings yet, or the query is empty.
        """
        similarities = cosines(self._embedded(), self._query_vector(query))
        candidates = best(similarities, max(top_k, initial_candidates) if self.reranker else top_k)
        scores = similarities[candidates]
        if self.reranker is not None:
            scores = self.reranker.scores(query, [self.chunk_texts[row] for row in candidates]).values
        found = []
        for rank, place in enumerate(best(scores, top_k), 1):
            row = candidates[place]
            entry = {"rank": rank, "score": float(scores[place])}
            if self.reranker is not None:
                entry["embedding_similarity"] = float(similarities[row])
            said = {"text": self.chunk_texts[row], "metadata": self.chunks_metadata[row], "chunk_id": row}
            found.append({**entry, **said})
        return found

    def export_for_local_qdrant(self) -> dict[str, str]:
        """Write the files that ``export_config`` asks for, each whole or not at all; returns kind -> path.

        Raises:
            UsageError: there are no embeddings yet.
            StoreError: a file cannot be written.
        """
        encoded = self._encoded()
        stats = stats_of(self._ran(), self.processing_stats, self.sparse_vectors, self.text_cache)
        paths = write_files(encoded, self.export_config, stats, self.get_target_collection_name())
        for kind, path in paths.items():
            logger.info("%s: %s", kind, path)
        return paths

    def _export_qdrant_jsonl(self, file_path: str | None = None) -> str:
        """Write the points alone; returns the path."""
        encoded = self._encoded()
        return write_points(encoded, self.export_config, encoded.ids(), file_path)

    def _encoded(self) -> Encoded:
        main = _ENSEMBLE if self.enable_ensemble else self._selection.main[0].row.vector_name
        dense = {main: self._embedded()}
        dense |= {one.row.vector_name: self.embeddings_by_model[one.key] for one in self._selection.further}
        return Encoded(
            texts=self.chunk_texts,
            metadata=self.chunks_metadata,
            dense=dense,
            companions={one.key: one.row.vector_name for one in self._selection.further},
            sparse=self.sparse_vectors,
            modifiers={row.vector_name: row.modifier for row in self._selection.sparse},
            model={
                "name": _ENSEMBLE if self.enable_ensemble else self.model_name,
                "hf_model_id": self.model_config.hf_model_id,
                "dimension": dense[main].shape[1],
                "version": _VERSION,
            },
        )


def _dense(vectors: Any) -> NDArray[np.float32]:
    matrix: NDArray[np.float32] = vectors
    return matrix


def _log_progress(event: Progress) -> None:
    logger.info("%s of %s texts, %s", event.done, event.total, event.detail)


def _now() -> str:
    return datetime.now(UTC).isoformat()
