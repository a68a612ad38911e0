"""``vecloom models``: the registry's rows, and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecloom.cli.options import JsonOption

if TYPE_CHECKING:
    from vecloom.config import Config
    from vecloom.registry import ModelSpec
    from vecloom.types import Vectors

app = typer.Typer(
    help="The models: list and show their rows, fetch and check their files.", no_args_is_help=True
)

#: Fields that are written down only when they were seen; None elsewhere means that there is none.
_SEEN_ONLY = frozenset({"revision", "sha256", "golden"})

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A key, alias, vector name or hub id.")]


@app.command("list")
def list_models(*, json: JsonOption = False) -> None:
    """All models: key, kind, dimension, length, backends, licence."""
    from vecloom.cli.output import write, write_json
    from vecloom.config import load_config
    from vecloom.registry import DEFAULT_MODELS

    rows = load_config().registry().rows.values()
    if json:
        for spec in rows:
            write_json(
                {
                    "key": spec.key,
                    "aliases": list(spec.aliases),
                    "vector_name": spec.vector_name,
                    "kind": spec.kind,
                    "dim": spec.dim,
                    "max_tokens": spec.max_tokens,
                    "backends": list(spec.backends),
                    "licence": spec.licence,
                }
            )
        return
    width = max(len(spec.key) for spec in rows)
    for spec in rows:
        size = f"{spec.dim}-d" if spec.dim else "-"
        tokens = f"{spec.max_tokens} tokens" if spec.max_tokens else "any length"
        default = "  (default)" if spec.key in DEFAULT_MODELS else ""
        runs = "refused" if spec.refused else "/".join(spec.backends)
        facts = f"{spec.kind:11}  {size:>7}  {tokens:>12}  {runs:19}  {spec.licence}{default}"
        write(f"{spec.key:{width}}  {facts}")


@app.command("show")
def show(model: ModelArgument, *, json: JsonOption = False) -> None:
    """One model's row: what it is, its limits and prompts, and what of it is pinned."""
    from vecloom.cli.output import write, write_json
    from vecloom.config import load_config
    from vecloom.weights import Weights

    config = load_config()
    spec = config.registry().find(model)
    row = _row(spec)
    place = Weights(config).place(spec) if spec.weights_id else None
    row["here"] = str(place) if place else None  # the folder of its files
    if json:
        write_json(row)
        return
    for name, value in row.items():
        write(f"{name:20} {_shown(name, value)}")


@app.command("pull")
def pull(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...")] = None,
    *,
    convert: Annotated[
        bool, typer.Option("--convert", help="Have weights converted to safetensors that are a pickle only.")
    ] = False,
) -> None:
    """Fetch models' files now (the default models', if none is named), and check those that are here.

    What a first run would build of them is built too, and the grammars of languages are unpacked: the cache
    may be read-only from then on.
    """
    from vecloom.cli.output import say, write
    from vecloom.config import load_config
    from vecloom.registry import DEFAULT_MODELS
    from vecloom.weights import Weights

    config = load_config()
    registry, weights = config.registry(), Weights(config, notice=say)
    specs = [registry.runnable(name) for name in dict.fromkeys(models or DEFAULT_MODELS)]
    for spec in specs:
        place = str(weights.pull(spec, convert=convert)) if spec.weights_id else "needs no files"
        write(f"{spec.key}: {place}")
    _build_ahead(specs, config)


def _build_ahead(specs: list[ModelSpec], config: Config) -> None:
    """Make what a first run would make in the cache: it may be read-only by then, as in a container."""
    from vecloom.chunking import unpacking
    from vecloom.cli.output import say, write
    from vecloom.errors import VecloomError
    from vecloom.pipeline.setup import engine_of, passes_for

    unpacking.use_cache(config.cache_dir)
    try:
        write(f"grammars: {unpacking.unpack_all()}")
    except (OSError, ValueError) as error:
        say(f"{error}; {unpacking.HINT}")
    # Graphs of BERT alone are built on this side; other models bring theirs.
    built = [
        spec
        for spec in specs
        if spec.backends[0] == "onnx" and not spec.onnx_file and spec.kind != "reranker"
    ]
    for together in [*([spec] for spec in built), *([built] if len(built) > 1 else [])]:
        try:
            engine = engine_of(passes_for(together, config, say))
            names = [spec.vector_name for spec in together]
            engine.encode_documents(["The loom weaves."])
            engine.encode_queries(["The loom weaves."], names)
        except VecloomError as error:
            say(f"{', '.join(spec.key for spec in together)} cannot run yet: {error}")


@app.command("verify")
def verify(model: ModelArgument, *, json: JsonOption = False) -> None:
    """Compare a model's files with its row: files, sha256, dimension, a golden vector.

    Files that are not here are fetched. Prints what to paste into the config file where the row does not pin
    every file. Exits with 1 where something differs.
    """
    from json import dumps

    from vecloom.cli.output import say, write, write_json
    from vecloom.config import load_config
    from vecloom.weights import Weights
    from vecloom.weights.verify import row_text
    from vecloom.weights.verify import verify as compare

    config = load_config()
    spec = config.registry().runnable(model)
    weights = Weights(config, notice=say)
    place = weights.cached(spec) or weights.folder(spec) if spec.weights_id else None

    def encode(texts: Any) -> Vectors:
        from vecloom.encoders.backends import How
        from vecloom.pipeline.setup import cross_encoder_for, engine_of, passes_for

        exact = How(precision="fp32", device="cpu")
        if spec.kind == "reranker":
            return cross_encoder_for(spec, config, say, exact).scores(texts[0], texts).values[:, None]
        vectors, _ = engine_of(passes_for([spec], config, say, how=exact)).encode_documents(texts)
        return vectors[spec.vector_name]

    checks = compare(spec, place, encode)
    for check in checks:
        if json:
            write_json({"check": check.name, "ok": check.ok, "detail": check.detail})
        else:
            mark = {True: "ok     ", False: "DIFFERS", None: "unknown"}[check.ok]
            write(f"{mark} {check.name}: {check.detail}")
    if place is not None and (text := row_text(spec, place)) is not None and not json:
        write(
            f"the row does not pin every file; to pin what is here, put into {config.file}, in place of its "
            f'"files" if it has some:\n\n[models.{dumps(spec.key)}]\n{text}'
        )
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _row(spec: ModelSpec) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(spec)


def _shown(name: str, value: Any) -> str:
    if value is None or value == "":
        return "unknown (never seen here)" if name in _SEEN_ONLY else "none"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(key, inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(name, inner) for inner in value) or "none"
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)
