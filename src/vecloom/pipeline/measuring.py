"""How long the chunks of trees are on average, in the words that models weigh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vecloom.encoders import Lengthwise
from vecloom.engine import Engine
from vecloom.pipeline.points import points_of
from vecloom.pipeline.reading import ChunkSettings, chunk_reader, read_trees
from vecloom.pipeline.report import Listener, Progress
from vecloom.sources import ScanOptions, Skip

#: Digits behind the point: what is told is what is used.
_DIGITS = 2


def average_lengths(
    sources: Mapping[str, Path],
    engine: Engine,
    chunking: ChunkSettings,
    options: ScanOptions,
    listener: Listener,
) -> dict[str, float]:
    """Vector name -> the mean count of words of all chunks that an index of ``sources`` would have.

    The trees are read once, and no model runs. Names of models that weigh no lengths are left out; where no
    chunk has a word, so are all.
    """
    measured = [encoder for encoder in engine.encoders if isinstance(encoder, Lengthwise)]
    words: Counter[str] = Counter()
    points = files = 0
    with chunk_reader(chunking) as reader:
        for _, found in reader.read_all(read_trees(sources, options, lambda _skip: None)):
            if isinstance(found, Skip):
                continue
            files += 1
            listener(Progress("measure", files, None, "files", found.document.source))
            passages = [point.passage for point in points_of(found.document, found.chunks)]
            points += len(passages)
            for encoder in measured:
                words.update(dict.fromkeys(encoder.names, encoder.text_words(passages)))
    return {name: round(count / points, _DIGITS) for name, count in words.items() if count}
