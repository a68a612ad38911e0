"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecloom.errors import UsageError

if TYPE_CHECKING:
    from vecloom.config import Config
    from vecloom.index import Index

IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="DIR|URL",
        help="The index's folder, or a Qdrant server (http, https, grpc). By default the one around the "
        "working folder, else the only one.",
    ),
]
# Where an index run writes: another default than where a search reads.
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="DIR|URL",
        help="The index's folder, or a Qdrant server (http, https, grpc). By default the one that holds the "
        "PATH already, else a new one.",
    ),
]
CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="The collection of the server (docs_v5_multi); without --index of the one in QDRANT_URL.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models", metavar="A,B", help="Keys, aliases or vector names; KEY:DIM picks a Matryoshka dimension."
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option("--chunk-tokens", metavar="N", help="Budget of a chunk, all that a model sees included."),
]
OverlapOption = Annotated[
    int | None, typer.Option("--overlap", metavar="N", help="Tokens that neighbouring chunks share (0).")
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="onnx, torch or openvino, for the models that run on it."),
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", metavar="NAME", help="fp32, bf16 or fp16, where it can be had.")
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="auto, cpu, cuda (every GPU), or cuda:0,cuda:1 and so on."),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="nl2code, qa, code2code, code2nl or code2completion: picks the prompts.",
    ),
]


PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH...", readable=False, help="Folders, files, or a BEIR .jsonl file."),
]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Name of the source (one PATH only).")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 where a file could not be read or decoded.")
]
YesOption = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Delete what is gone, also where the whole tree is gone (an unmounted drive): else it is kept.",
    ),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="List every file that was skipped, and why.")]


def loaded_config() -> Config:
    """The settings; of rows that replace built-in ones a line is said."""
    from vecloom.cli.output import say
    from vecloom.config import load_config

    config = load_config()
    for key in config.registry().replaced:
        say(f"vecloom: {config.file} replaces the built-in row of {key}")
    return config


def names_of(text: str | None) -> list[str]:
    """``A,B`` as a list; no text gives an empty one."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def pairs_of(items: list[str], option: str) -> dict[str, tuple[str, ...]]:
    """``KEY=VALUE`` items as key -> values."""
    pairs: dict[str, tuple[str, ...]] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"{option} takes KEY=VALUE, not {item!r}")
        pairs[key] = (*pairs.get(key, ()), value)
    return pairs


def place_named(index: str | None, collection: str | None, config: Config) -> str | None:
    """What ``--index`` names, or the server that ``--collection`` alone means; None where neither is said.

    Raises:
        UsageError: a collection, and no server is known.
    """
    if index is None and collection is not None:
        if config.server_url is None:
            raise UsageError(
                f"--collection {collection} is on which server? Name it: --index http://HOST:6333"
            )
        from vecloom.pipeline.places import require_url

        return require_url(config.server_url, "QDRANT_URL or [server] url")
    return index


def where_of(index: str | None, collection: str | None) -> str:
    """The options that name an index as these did, for a command to be shown."""
    named = f" --index {index}" if index else ""
    return f"{named} --collection {collection}" if collection else named


def open_index(index: str | None, collection: str | None, device: str = "auto") -> Index:
    """The index that the options name, or the one meant without them; ``device`` encodes its queries."""
    from vecloom.cli.output import say
    from vecloom.config import load_config
    from vecloom.index import Index
    from vecloom.locate import index_for_search

    config = load_config()
    place = place_named(index, collection, config) or index_for_search(config, Path.cwd(), say)
    return Index.open(place, collection=collection, device=device, config=config, notice=say)
