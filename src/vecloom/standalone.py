"""What needs no index: the chunks of trees, the sparse vectors of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecloom.config import Config, load_config
from vecloom.pipeline.naming import name_sources
from vecloom.pipeline.setup import chunker_for, engine_of, passes_for
from vecloom.recipe import Asked, new_recipe

if TYPE_CHECKING:
    from vecloom.chunking import Chunker
    from vecloom.sources import Extractor, File, Skip
    from vecloom.types import Chunk, Document


def chunk_trees(
    roots: Sequence[Path], asked: Asked, config: Config
) -> Iterator[tuple[Document, Sequence[Chunk]] | Skip]:
    """Documents below ``roots`` with the chunks that an index made as asked would have, and what has none.

    Raises:
        UsageError: a root that does not exist.
        WeightsError: a model's tokenizer cannot be had.
    """
    recipe = new_recipe(config.registry(), asked)
    specs = recipe.specs(config.registry())
    engine = engine_of(passes_for(specs, config, how=asked.how))
    chunker = chunker_for(recipe.counted_by, engine, recipe.chunk_tokens, recipe.overlap)
    return _chunked(name_sources({}, roots, None), chunker)


def _chunked(
    sources: Mapping[str, Path], chunker: Chunker
) -> Iterator[tuple[Document, Sequence[Chunk]] | Skip]:
    from vecloom.sources import Extractor, Skip, lost_parts, scan

    with Extractor() as extractor:
        for name, root in sources.items():
            for file in scan(root):
                document = file if isinstance(file, Skip) else _document(name, file, extractor)
                if isinstance(document, Skip):
                    yield document
                    continue
                yield from lost_parts(document)
                yield document, chunker.chunk(document).chunks


def _document(source: str, file: File, extractor: Extractor) -> Document | Skip:
    from vecloom.sources import Skip, decode, read

    data = read(file)
    return data if isinstance(data, Skip) else decode(source, file, data, extractor=extractor)


def generate_sparse_vectors(texts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """BM25 and attention (BM42) vectors of texts, the documents' side, as plain lists.

    ``{"bm25": [{"indices", "values", "tokens"}, ...], "attention": [...]}``, one entry a text; ``tokens``
    are the stems behind the indices.

    Raises:
        WeightsError: the attention model's files cannot be had.
    """
    config = load_config()
    names = {"bm25": "qdrant-bm25", "attention": "qdrant-minilm-attention"}
    specs = config.registry().select(names.values())
    found = engine_of(passes_for(specs, config)).sparse_vectors(texts)
    return {name: found[spec.vector_name] for name, spec in zip(names, specs, strict=True)}
