"""What an index holds, and what a user of an older one should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vecloom.pipeline.home import Home
from vecloom.registry import DEFAULT_MODELS, FORMER_DEFAULT_MODELS
from vecloom.types import Filter


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index holds.

    ``folder``: the folder, or the URL with the collection. ``vectors``: name -> how many of the ``points``
    have it. ``incomplete``: names that some points lack. ``unfinished``: sources that were not read to the
    end. ``sources``: name -> (root, points). ``runs``: model -> the backend and precision that its vectors
    were computed with; ``task``: whose prompts documents were given. ``avg_len``: vector -> BM25's average
    length in words, where the index has another than the model's own. ``absent``: sources whose root was gone
    at the last run, so that what was gone with it is kept and hidden from search. ``bytes``: on the disk;
    None on a server. ``writer``: who of this machine indexes right now and how far that is.
    """

    folder: str
    points: int
    vectors: Mapping[str, int]
    incomplete: tuple[str, ...]
    unfinished: tuple[str, ...]
    sources: Mapping[str, tuple[str, int]]
    models: tuple[str, ...]
    runs: Mapping[str, str]
    task: str | None
    chunk_tokens: int
    overlap: int
    avg_len: Mapping[str, float]
    bytes: int | None
    writer: str
    absent: tuple[str, ...] = ()


def status_of(home: Home) -> IndexStatus:
    """What an index holds, counted now."""
    with home.access.open("status") as store:
        points = store.count()
        vectors = {v.name: store.count(Filter(has=(v.name,))) for v in store.schema.vectors}
        chunks = store.facet("source")
    manifest = home.load()
    return IndexStatus(
        folder=home.name,
        points=points,
        vectors=vectors,
        incomplete=manifest.incomplete,
        unfinished=manifest.unfinished,
        sources={name: (root, chunks.get(name, 0)) for name, root in manifest.sources.items()},
        models=tuple(record.name for record in manifest.models),
        runs={record.name: f"{record.backend}, {record.precision}" for record in manifest.models},
        task=manifest.task,
        chunk_tokens=manifest.chunk_tokens,
        overlap=manifest.overlap,
        avg_len=manifest.avg_lens,
        bytes=home.size(),
        writer=home.writer(),
        absent=manifest.absent,
    )


def advice_for(models: Sequence[str]) -> str:
    """Where an index has just the models that were the default: which are now, and how to have them, else "".

    Who chose other models is left alone.
    """
    if tuple(models) != FORMER_DEFAULT_MODELS:
        return ""
    default = ",".join(DEFAULT_MODELS)
    further = ",".join(key for key in DEFAULT_MODELS if key not in models)
    return (
        f"the default models are {default} now, for better results; to have {further} beside those of this "
        f"index: vecloom index PATH --models {','.join(models)},{further}; to change to the new ones: "
        f"vecloom index PATH --rebuild --models {default}"
    )
