"""``vecloom embed``, ``vecloom load``, ``vecloom export``, ``vecloom notebook``."""

from __future__ import annotations

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
    TaskOption,
    TokensOption,
    VerboseOption,
    YesOption,
    loaded_config,
    names_of,
    place_named,
    where_of,
)


def embed(
    paths: PathsArgument = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="PACK", readable=False, help="The pack's folder: new, or to go on with."
        ),
    ],
    source: SourceOption = None,
    models: ModelsOption = None,
    chunk_tokens: TokensOption = None,
    overlap: OverlapOption = None,
    backend: BackendOption = None,
    precision: PrecisionOption = None,
    device: DeviceOption = "auto",
    task: TaskOption = None,
    half: Annotated[
        bool | None,
        typer.Option("--half", help="Dense vectors as float16: half the size.", show_default=False),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="N", help="Stop after that time, where the same command goes on."),
    ] = None,
    yes: YesOption = False,
    strict: StrictOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Chunk and encode folders and files into a pack: files to carry to where they are searched.

    A run can be stopped at any time, and the same command goes on. Without a PATH only what the pack lacks is
    computed, such as the vectors of a further model.
    """
    from vecloom import carry
    from vecloom.cli.output import progress, say, tell_report
    from vecloom.encoders.backends import How

    with progress() as listener:
        report = carry.embed(
            out,
            *(paths or ()),
            models=names_of(models),
            chunk_tokens=chunk_tokens,
            overlap=overlap,
            how=How(backend, precision, device, task),
            source=source,
            half=half,
            delete_gone=yes,
            seconds=None if minutes is None else 60 * minutes,
            config=loaded_config(),
            notice=say,
            listener=listener,
        )
    tell_report(report, verbose=verbose)
    say(f"pack: {out}; load it with: vecloom load {out} --to DIR|URL")
    if strict and report.problems:
        raise typer.Exit(1)


def load(
    pack: Annotated[
        Path, typer.Argument(metavar="PACK|ARCHIVE", readable=False, help="A pack, or a zip of one.")
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="DIR|URL", help="The index: a folder, or a Qdrant server (http, https, grpc)."
        ),
    ] = None,
    collection: CollectionOption = None,
    profile: Annotated[
        Literal["default", "v5"] | None,
        typer.Option("--profile", metavar="NAME", help="How graphs are built: default, or v5 (int8, m 48)."),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option("--alias", metavar="NAME", help="Build a new collection, then let this name mean it."),
    ] = None,
) -> None:
    """Load a pack into an index: a folder of its own, or a collection of a Qdrant server.

    A load can be stopped at any time, and the same command goes on. It is verified in the end.
    """
    from vecloom import carry
    from vecloom.cli.output import duration, progress, say
    from vecloom.config import load_config
    from vecloom.errors import UsageError

    config = load_config()
    place = place_named(to, collection or alias, config)
    if place is None:
        raise UsageError("where to? Name a folder or a server: --to DIR|URL")
    with progress() as listener:
        report = carry.load(
            pack,
            place,
            collection=collection,
            profile=profile,
            alias=alias,
            config=config,
            notice=say,
            listener=listener,
        )
    deleted = f", {report.deleted:,} deleted" if report.deleted else ""
    say(f"{report.points:,} chunks ({report.sent:,} sent now{deleted}), {duration(report.seconds)}, verified")
    if report.unsealed:
        say(f"  no graph was built, searches take longer: {report.unsealed}")
    say(f'index: {place}; ask it with: vecloom search "..."{where_of(place, alias or collection)}')


def export(
    place: Annotated[
        str | None, typer.Argument(metavar="PACK|DIR|URL", help="A pack, an index, or a Qdrant server.")
    ] = None,
    *,
    form: Annotated[
        Literal["jsonl", "parquet", "numpy"],
        typer.Option("--format", metavar="NAME", help="jsonl (a PointStruct a line), parquet or numpy."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="PATH", readable=False, help="The file; for numpy a new folder.")
    ],
    collection: CollectionOption = None,
    using: Annotated[
        str | None,
        typer.Option("--using", metavar="NAMES", help="Vectors to write: models or vector names (all)."),
    ] = None,
) -> None:
    """Write the points of a pack or an index to files that other programs read."""
    from vecloom import carry
    from vecloom.cli.output import progress, say
    from vecloom.config import load_config
    from vecloom.errors import UsageError

    config = load_config()
    named = place_named(place, collection, config)
    if named is None:
        raise UsageError("name a pack, the folder of an index, or a server")
    with progress() as listener:
        count = carry.export(
            named,
            form,
            out,
            collection=collection,
            using=names_of(using),
            config=config,
            notice=say,
            listener=listener,
        )
    say(f"{count:,} points: {out}")


def notebook(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", readable=False, help="The notebook to write, FILE.ipynb.")
    ],
    models: ModelsOption = None,
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="N", help="When its run stops: before the session ends.")
    ] = 660.0,
    install: Annotated[
        str | None,
        typer.Option(
            "--install",
            metavar="SPEC",
            help="What pip installs there as vecloom: git+https://..., or the URL or path of a wheel. By "
            "default this vecloom, packed into the notebook.",
        ),
    ] = None,
) -> None:
    """Write a notebook that makes a pack on Kaggle's or Colab's GPUs, to be loaded at home.

    By default of the seed's six vectors: jina-code, bge-m3, CodeRankEmbed, MiniLM, BM42 and BM25.
    """
    from vecloom.cli.output import say
    from vecloom.config import load_config
    from vecloom.notebook import SEED_MODELS, write_notebook

    chosen = names_of(models) or list(SEED_MODELS)
    load_config().registry().select(chosen)
    write_notebook(out, ",".join(chosen), minutes, install)
    say(f"{out}: upload it to Kaggle or Colab; then, at home: vecloom load pack.zip --to DIR|URL")
