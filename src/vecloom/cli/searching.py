"""``vecloom search``."""

from __future__ import annotations

from typing import Annotated

import typer

from vecloom.cli.options import (
    CollectionOption,
    DeviceOption,
    IndexOption,
    JsonOption,
    TaskOption,
    names_of,
    open_index,
    pairs_of,
)
from vecloom.fusion import FusionName
from vecloom.ranking import LAYERS, RERANK_TOP


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in words or code.")],
    *,
    index: IndexOption = None,
    collection: CollectionOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="How many hits.")] = 10,
    using: Annotated[
        str | None, typer.Option("--using", metavar="NAMES", help="Legs to search: models or vector names.")
    ] = None,
    fusion: Annotated[
        FusionName | None,
        typer.Option(
            "--fusion",
            metavar="NAME",
            help="How legs are fused: auto, rrf, dbsf or weighted. auto, unless legs or weights are named "
            "(then rrf), also ranks by paths and names.",
        ),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            "--without", metavar="LAYERS", help=f"Layers of auto to leave out: {', '.join(LAYERS)}."
        ),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option("--weight", metavar="NAME=W", help="Weight of a leg (1); repeatable.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="KEY=VALUE", help="path (a glob), language, kind or source; repeatable."
        ),
    ] = None,
    per_file: Annotated[
        int, typer.Option("--per-file", metavar="N", help="Chunks of one file before others' turn.")
    ] = 1,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Tell of each hit what each leg and layer adds, and which words."),
    ] = False,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank", metavar="MODEL", help="Order the best hits by a reranker, which reads each of them."
        ),
    ] = None,
    rerank_top: Annotated[
        int | None,
        typer.Option("--rerank-top", metavar="N", help=f"How many hits it reads ({RERANK_TOP})."),
    ] = None,
    task: TaskOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Search an index: every leg, fused; with --rerank the best hits are then read by a cross-encoder.

    While an index run is under way the legs that it has not finished answer from what is stored; a line on
    stderr says so.
    """
    from vecloom.cli.output import hit_record, list_hits, say, write_json

    weights = {name: _number(values[-1], name) for name, values in pairs_of(weight or [], "--weight").items()}
    opened = open_index(index, collection, device)  # and not closed: see `vecloom.__main__`
    hits = opened.search(
        query,
        limit,
        using=names_of(using),
        fusion=fusion,
        weights=weights,
        filters=pairs_of(where or [], "--filter"),
        per_file=per_file,
        without=names_of(without),
        task=task,
        explain=explain,
        rerank=rerank,
        rerank_top=rerank_top,
    )
    if partial := [*opened.unfinished, *opened.incomplete]:
        say(f"vecloom: not complete yet: {', '.join(partial)} (see vecloom status)")
    if absent := opened.absent:
        say(f"vecloom: left out, as their files are gone: {', '.join(absent)} (see vecloom status)")
    if json:
        for hit in hits:
            write_json(hit_record(hit))
    elif hits:
        list_hits(hits, opened.sources)
    else:
        say("nothing found")


def _number(text: str, name: str) -> float:
    from vecloom.errors import UsageError

    try:
        return float(text)
    except ValueError:
        raise UsageError(f"the weight of {name} is not a number: {text!r}") from None
