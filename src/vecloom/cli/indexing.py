"""``vecloom index``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from vecloom.cli.options import (
    BackendOption,
    CollectionOption,
    DeviceOption,
    ModelsOption,
    OverlapOption,
    PathsArgument,
    PrecisionOption,
    SourceOption,
    StrictOption,
    TargetOption,
    TaskOption,
    TokensOption,
    VerboseOption,
    YesOption,
    loaded_config,
    names_of,
    open_index,
    place_named,
    where_of,
)

#: How far an index run stands back (0 to 19) behind what people wait for, searches beside it above all.
_NICENESS = 5


def index(
    paths: PathsArgument = None,
    *,
    index: TargetOption = None,
    collection: CollectionOption = None,
    source: SourceOption = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="SOURCE", help="Forget a source and its points.")
    ] = None,
    models: ModelsOption = None,
    chunk_tokens: TokensOption = None,
    overlap: OverlapOption = None,
    backend: BackendOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = "auto",
    task: TaskOption = None,
    avg_len: Annotated[
        str | None,
        typer.Option(
            "--avg-len",
            metavar="auto|N",
            help="BM25's average length of a chunk in words, for a new index; with --rebuild auto counts it.",
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Make the index anew, as this machine runs models best; the old one answers until then.",
        ),
    ] = False,
    yes: YesOption = False,
    strict: StrictOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Index folders and files, or bring their index up to date.

    The whole tree can be searched by its words after seconds; the dense vectors follow. A run can be stopped
    at any time: what was stored stays, and the next run goes on from there.
    """
    from vecloom.cli.output import progress, say, tell_report
    from vecloom.encoders.backends import How
    from vecloom.errors import UsageError
    from vecloom.index import Index
    from vecloom.locate import index_for_roots, index_for_search
    from vecloom.pipeline.naming import name_sources
    from vecloom.pipeline.places import home_of
    from vecloom.recipe import Asked

    config = loaded_config()
    how = How(backend, precision, device, task)
    length = _avg_len(avg_len)
    if remove is not None:
        if paths or rebuild or source or models or chunk_tokens or overlap or avg_len or how != How():
            raise UsageError("--remove stands alone: it takes no PATH and no other setting than --index")
        with open_index(index, collection) as opened:
            say(f"{remove}: {opened.remove(remove):,} chunks deleted")
        return
    if not paths and not rebuild:
        raise UsageError("name a PATH to index, or a source to --remove")
    if not paths and source:
        raise UsageError(f"--source {source} names the source of a PATH; name that too")
    if paths:
        name_sources({}, paths, source)  # what cannot be indexed is refused before anything is made
    place = place_named(index, collection, config) or (
        index_for_roots(config, paths, say) if paths else index_for_search(config, Path.cwd(), say)
    )
    there = home_of(place, collection, config).exists()
    if not paths and not there:
        raise UsageError(f"{place} holds no index to rebuild; name a PATH to index")
    asked = Asked(tuple(names_of(models)), chunk_tokens, overlap, how, length)
    _step_back()
    with progress() as listener:
        if rebuild and there:
            report = Index.rebuild(
                place,
                asked,
                *(paths or ()),
                source=source,
                delete_gone=yes,
                config=config,
                notice=say,
                listener=listener,
            )
        else:
            with Index.prepare(place, asked, collection=collection, config=config, notice=say) as prepared:
                report = prepared.add(*(paths or ()), source=source, delete_gone=yes, listener=listener)
    tell_report(report, verbose=verbose)
    say(f'index: {place}; ask it with: vecloom search "..."{where_of(index, collection)}')
    if strict and report.problems:
        raise typer.Exit(1)


def _avg_len(text: str | None) -> float | Literal["auto"] | None:
    from vecloom.errors import UsageError

    if text is None or text == "auto":
        return None if text is None else "auto"
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--avg-len takes auto or a number of words, not {text!r}") from None


def _step_back() -> None:
    """Lower this process's priority, and so that of the threads it will start."""
    if hasattr(os, "setpriority"):
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(now, _NICENESS))
