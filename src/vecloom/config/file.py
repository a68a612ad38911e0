"""The config file: TOML, validated as a whole, and turned into settings and rows of the registry."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from vecloom.config.settings import DEFAULT_ORDER, FileSettings, OriginKind, absolute, clean_key
from vecloom.errors import ConfigError, UsageError
from vecloom.registry import (
    BUILTIN,
    ModelFile,
    ModelKind,
    ModelSpec,
    Pooling,
    Registry,
    Role,
    Wheel,
)

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]*$")]
Size = Annotated[int, Field(gt=0, lt=2**31)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)  # it may be a key


class _WheelTable(_Table):
    project: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
    sha256: Sha256
    prefix: str


class _ModelTable(_Table):
    """``[models.KEY]``: the fields of a `ModelSpec`, and ``folder``; a list or a table of ``files``."""

    folder: Text | None = None
    hub_id: Text | None = None
    weights: Text | None = None
    revision: Text | None = None
    files: list[Text] | dict[Text, Sha256] | None = None
    wheel: _WheelTable | None = None
    aliases: list[Text] | None = None
    vector_name: Text | None = None
    kind: ModelKind | None = None
    dim: Size | None = None
    matryoshka_dims: list[Size] | None = None
    recommended_tokens: Size | None = None
    max_tokens: Size | None = None
    pooling: Pooling | None = None
    normalise: bool | None = None
    prompts: dict[Text, dict[Role, str]] | None = None
    modifier: Literal["idf"] | None = None
    licence: Text | None = None
    backends: Annotated[list[Literal["onnx", "torch", "openvino"]], Field(min_length=1)] | None = None
    recommended_batch: Size | None = None
    shared_pass: Text | None = None
    settings: dict[Text, float | str] | None = None
    onnx_file: Text | None = None
    inputs: dict[Text, Literal["input_ids", "attention_mask", "token_type_ids", "position_ids"]] | None = None
    output: Text | None = None


class _WeightsTable(_Table):
    order: Annotated[list[OriginKind], Field(min_length=1)] = list(DEFAULT_ORDER)
    folders: dict[Text, Text] = {}


class _ServerTable(_Table):
    url: Text | None = None
    api_key: Annotated[Text | None, Field(repr=False)] = None
    ca: Text | None = None


class _File(_Table):
    data_dir: Text | None = None
    cache_dir: Text | None = None
    weights: _WeightsTable = _WeightsTable()
    server: _ServerTable = _ServerTable()
    models: dict[Text, _ModelTable] = {}


def read_file(path: Path) -> FileSettings:
    """The settings that the file says; relative folders are taken from the file's own.

    Raises:
        ConfigError: it is not TOML, or everything that is wrong in it, field by field.
    """
    file = _parse(path)
    base = path.absolute().parent
    rows = {key: _row(key, table) for key, table in file.models.items()}
    problems = [*_row_problems(rows), *_name_problems(rows)]
    folders, unknown = _folders(file, Registry(rows.values()), base)
    if problems + unknown:
        raise _refusal(path, problems + unknown)
    return FileSettings(
        data_dir=absolute(file.data_dir, base) if file.data_dir else None,
        cache_dir=absolute(file.cache_dir, base) if file.cache_dir else None,
        order=tuple(dict.fromkeys(file.weights.order)),
        folders=folders,
        models=tuple(rows.values()),
        server_url=file.server.url,
        server_ca=absolute(file.server.ca, base) if file.server.ca else None,
        api_key=clean_key(file.server.api_key, f"{path}: server.api_key"),
    )


def _parse(path: Path) -> _File:
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as wrong:
        raise _refusal(path, [_field_problem(error) for error in wrong.errors()]) from wrong
    except RecursionError:
        raise ConfigError(f"{path} cannot be read as TOML: it is nested too deeply") from None
    except (OSError, ValueError) as problem:
        said = problem.strerror if isinstance(problem, OSError) else problem
        raise ConfigError(f"{path} cannot be read as TOML: {said}") from problem


def _field_problem(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        if error["loc"][0] == "models" and isinstance(error["input"], dict):
            key = where.removeprefix("models.")
            return f'{where} is not a setting; a key with a dot is quoted: [models."{key}"]'
        return f"{where} is not a setting"
    value = "..." if error["loc"][0] == "server" else repr(error["input"])[:200]  # it may hold the key
    return f"{where} = {value}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _refusal(path: Path, problems: list[str]) -> ConfigError:
    return ConfigError(f"{path}: {'; '.join(problems)} (correct the file)")


def _row(key: str, table: _ModelTable) -> ModelSpec:
    """The row of a table: over the built-in row of its key, or over a bare one."""
    given = {name: getattr(table, name) for name in table.model_fields_set - {"folder", "files", "wheel"}}
    for name in ("aliases", "matryoshka_dims", "backends"):
        if name in given:
            given[name] = tuple(given[name])
    under = next((row for row in BUILTIN if row.key.lower() == key.lower()), None)
    if table.files is not None:
        hashes = table.files if isinstance(table.files, dict) else dict.fromkeys(table.files)
        torch = {file.path: file.torch for file in under.files} if under else {}
        given["files"] = tuple(ModelFile(name, sha256, torch.get(name)) for name, sha256 in hashes.items())
    if table.wheel is not None:
        given["wheel"] = Wheel(**table.wheel.model_dump())
    if under is None:
        return replace(_bare(key), **given)
    if table.model_fields_set & {"folder", "hub_id", "weights"}:
        under = _without_weights(under, keep_hub=table.folder is None)
    return replace(under, **given)


def _bare(key: str) -> ModelSpec:
    return ModelSpec(
        key=key, hub_id=None, vector_name=key, kind="dense", licence="unknown", backends=("torch",)
    )


def _without_weights(row: ModelSpec, keep_hub: bool) -> ModelSpec:
    """The row without what is only true of its own weights: other weights have other hashes."""
    return replace(
        row,
        hub_id=row.hub_id if keep_hub else None,
        weights=None,
        revision=None,
        wheel=None,
        golden=None,
        files=tuple(ModelFile(file.path, torch=file.torch) for file in row.files),
    )


def _row_problems(rows: Mapping[str, ModelSpec]) -> Iterator[str]:
    for key, row in rows.items():
        where = f"models.{key}"
        if ":" in key:
            yield f"{where}: a key holds no ':'"
        if row.kind in ("sparse", "reranker") and row.dim is not None:
            what = "a reranker" if row.kind == "reranker" else "a sparse vector"
            yield f"{where}.dim = {row.dim}: {what} has none"
        if row.kind in ("dense", "multivector") and row.dim is None:
            yield f"{where}.dim is missing: a {row.kind} vector needs it"
        if row.kind == "dense" and row.pooling is None:
            yield f"{where}.pooling is missing: mean, cls or last"
        if row.max_tokens is None and "native" not in row.backends:
            yield f"{where}.max_tokens is missing: the most tokens of a text that the model takes"
        if row.dim is not None and max(row.matryoshka_dims, default=0) > row.dim:
            yield f"{where}.matryoshka_dims = {list(row.matryoshka_dims)}: more than dim = {row.dim}"
        if row.max_tokens is not None and (row.recommended_tokens or 0) > row.max_tokens:
            yield f"{where}.recommended_tokens = {row.recommended_tokens}: more than {row.max_tokens}"
        if row.kind == "reranker" and row.backends not in (("torch",), ("onnx",)):
            yield f"{where}.backends = {list(row.backends)}: a reranker runs on torch or on onnx, one of them"
        if row.kind == "reranker" and row.backends == ("onnx",) and row.onnx_file is None:
            yield f"{where}.onnx_file is missing: a reranker runs on onnx from a file of its own"
        headed = row.kind in ("sparse", "multivector")
        if headed and row.backends == ("torch",) and "head" not in row.settings:
            yield f"{where}.settings.head is missing: the file of the {row.kind} vector's linear map"
        if row.onnx_file is not None and row.backends != ("onnx",):
            yield f'{where}.onnx_file: such a row runs on onnx alone: backends = ["onnx"]'
        if row.onnx_file is not None and row.kind not in ("dense", "reranker"):
            yield f"{where}.onnx_file: such a row is dense or a reranker, not {row.kind}"
        if row.onnx_file is not None and not ModelFile(row.onnx_file).inside:
            yield f"{where}.onnx_file: {row.onnx_file!r} does not stay in its folder"
        for file in row.files:
            if not file.inside:
                yield f"{where}.files: {file.path!r} does not stay in its folder"


def _name_problems(rows: Mapping[str, ModelSpec]) -> Iterator[str]:
    """Aliases that already mean another model, which the registry would pass over in silence."""
    for key, row in rows.items():
        others = Registry(other for other in rows.values() if other is not row)
        for alias in row.aliases:
            try:
                meant = others.find(alias).key
            except UsageError:
                continue
            if meant != row.key:
                yield f"models.{key}.aliases: {alias!r} already means {meant}"


def _folders(file: _File, registry: Registry, base: Path) -> tuple[dict[str, Path], list[str]]:
    """Folders by weights id, and what is wrong with those named."""
    places = [
        (f"models.{key}.folder", key, table.folder) for key, table in file.models.items() if table.folder
    ]
    places += [(f"weights.folders.{name}", name, folder) for name, folder in file.weights.folders.items()]
    folders: dict[str, Path] = {}
    problems = []
    for where, name, folder in places:
        try:
            weights_id = registry.find(name).weights_id
        except UsageError as unknown:
            problems.append(f"{where}: {unknown}")
            continue
        place = absolute(folder, base)
        if weights_id is None:
            problems.append(f"{where}: {name} needs no files")
        elif folders.setdefault(weights_id, place) != place:
            problems.append(f"{where}: the same weights are already in {folders[weights_id]}")
    return folders, problems
