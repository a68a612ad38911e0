"""How long the chunks of trees are on average, in the words that models weigh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vecloom.chunking import Chunker
from vecloom.encoders import Lengthwise
from vecloom.engine import Engine
from vecloom.pipeline.reading import Reader
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.sources import Extractor, ScanOptions, Skip, read, scan

#: Digits behind the point: what is told is what is used.
_DIGITS = 2


def average_lengths(
    sources: Mapping[str, Path], engine: Engine, chunker: Chunker, options: ScanOptions, listener: Listener
) -> dict[str, float]:
    """Vector name -> the mean count of words of all chunks that an index of ``sources`` would have.

    The trees are read once, and no model runs. Names of models that weigh no lengths are left out; where no
    chunk has a word, so are all.
    """
    measured = [encoder for encoder in engine.encoders if isinstance(encoder, Lengthwise)]
    words: Counter[str] = Counter()
    report = IndexReport()
    points = 0
    with Extractor() as extractor:
        reader = Reader(chunker, extractor, report)
        for source, root in sources.items():
            for file in scan(root, options):
                data = file if isinstance(file, Skip) else read(file)
                if isinstance(file, Skip) or isinstance(data, Skip):
                    continue
                found = reader.points(source, file, data)
                if isinstance(found, Skip):
                    continue
                report.files += 1
                listener(Progress("measure", report.files, None, "files", source))
                points += len(found)
                passages = [point.passage for point in found]
                for encoder in measured:
                    words.update(dict.fromkeys(encoder.names, encoder.text_words(passages)))
    return {name: round(count / points, _DIGITS) for name, count in words.items() if count}
