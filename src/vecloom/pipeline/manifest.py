"""``index.json``: what an index was made with, and where its shard lies."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, get_args

from vecloom.durable import PART, read_json, written
from vecloom.encoders.backends import Backend, Precision
from vecloom.errors import IndexFormatError
from vecloom.recipe import Asked, ModelRecord, Recipe, changed
from vecloom.registry import Registry
from vecloom.types import ProfileName, Schema

#: Version of the index folder's layout. A reader refuses what is newer. 2: ``engine`` and ``absent``.
FORMAT = 2
FILE_NAME = "index.json"

#: What a user can do about one that cannot be read.
_REBUILD = 'make the index again with "vecloom index PATH --rebuild"'

#: What is to become it.
PART_NAME = f"{FILE_NAME}{PART}"


@dataclass(frozen=True, slots=True)
class Manifest(Recipe):
    """What an index was made with, and how far it is.

    ``sources``: name -> absolute root (kept on this machine only). ``unfinished``: sources that an index run
    began to read and has not read to the end. ``incomplete``: vector names that some points lack.
    ``profile``: how graphs are built and searched. ``engine``: the version of the embedded engine that wrote
    the shard, "" where that is not known. ``absent``: sources whose root was gone at the last run, so that
    points of files that are gone with it are kept, and hidden.
    """

    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    shard: str = "shard-1"
    sources: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    profile: ProfileName = "default"
    engine: str = ""
    absent: tuple[str, ...] = ()

    def schema(self, registry: Registry) -> Schema:
        """The store's schema: one named vector a model."""
        return Schema(Recipe.schema(self, registry).vectors, self.profile)

    @classmethod
    def of(cls, recipe: Recipe, **more: Any) -> Manifest:
        """The manifest of an empty index that is made by ``recipe``."""
        return cls(**{part.name: getattr(recipe, part.name) for part in fields(Recipe)}, **more)

    def save(self, folder: Path) -> None:
        """Replace ``index.json`` in one step, durably."""
        with written(folder / FILE_NAME) as file:
            file.write(json.dumps(said_of(self), indent=1).encode())


def record_in(folder: Path, **changes: Any) -> None:
    """Change fields of an index's manifest. The caller holds its writer lock."""
    replace(load_manifest(folder), **changes).save(folder)


def load_manifest(folder: Path) -> Manifest:
    """Read ``index.json``.

    Raises:
        IndexFormatError: there is none, it cannot be read, or a newer version wrote it; one line that names
            the file, and the field that is wrong.
    """
    path = folder / FILE_NAME
    try:
        said = read_json(path)
    except FileNotFoundError:
        raise IndexFormatError(f'{folder} holds no index; make one with "vecloom index PATH"') from None
    except OSError as error:
        raise IndexFormatError(f"{path} cannot be read ({error.strerror}); see to its permissions") from None
    except ValueError as error:
        raise IndexFormatError(f"{path} cannot be read ({error}); {_REBUILD}") from None
    return manifest_of(said, path)


def said_of(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON."""
    return {"format": FORMAT, **asdict(manifest)}


def manifest_of(said: Any, place: object, remedy: str = _REBUILD) -> Manifest:
    """Check every field of a manifest that was found at ``place``: anybody may have written it.

    ``remedy``: what the message tells the user to do.

    Raises:
        IndexFormatError: a field is missing, unknown, or not of its type and range; or a newer version wrote
            it. One line that names the place and the field.
    """
    try:
        return _checked_manifest(said, place)
    except _FieldError as error:
        raise IndexFormatError(f"{place} cannot be read ({error}); {remedy}") from None


class _FieldError(ValueError):
    """A field of a manifest is not what it should be; the message names it."""


#: What a check takes: is the value right? And how the message describes a right one.
_Check: TypeAlias = tuple[Callable[[Any], bool], str]

_is_shard_name = re.compile(r"shard-[0-9]{1,9}").fullmatch

#: Text of a name or a path: no file name and no command line can hold a NUL.
_MOST_CHARACTERS = 32768


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_CHARACTERS and "\0" not in value


def _is_name(value: Any) -> bool:
    """True if a value is a text that a database and a payload can hold; only roots may be no Unicode."""
    return _is_text(value) and value != "" and not any("\ud800" <= char <= "\udfff" for char in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_name, value))


def is_sources(value: Any) -> bool:
    """True if a value maps the names of sources to their roots."""
    return isinstance(value, dict) and all(map(_is_name, value)) and all(map(_is_text, value.values()))


def _is_length(value: Any) -> bool:
    """True if a value is an average length in words; an int may be too large for a float."""
    return value is None or (type(value) in (int, float) and 0 < value < 1e9)


def _one_of(values: tuple[str, ...]) -> _Check:
    return (lambda value: isinstance(value, str) and value in values), f"one of {', '.join(values)}"


_NAME: _Check = (_is_name, "a name")
_TEXT: _Check = (_is_text, "a text")
_NAMES: _Check = (_are_names, "a list of names")
_COUNT: _Check = (_is_count, "a whole number from 0")

_MODEL_CHECKS: dict[str, _Check] = {
    "name": _NAME,
    "vector_name": _NAME,
    "settings_hash": _TEXT,
    "backend": _one_of(get_args(Backend)),
    "precision": _one_of(get_args(Precision)),
    "weights_hash": _TEXT,
    "avg_len": (_is_length, "a number of words above 0"),
}

_CHECKS: dict[str, _Check] = {
    "models": (lambda value: isinstance(value, (list, tuple)) and bool(value), "a list of models"),
    "chunk_tokens": (lambda value: _is_count(value) and value > 0, "a whole number above 0"),
    "overlap": _COUNT,
    "counted_by": _NAMES,
    "task": (lambda value: value is None or _is_name(value), "a name or null"),
    "chunker": _COUNT,
    "created_with": _TEXT,
    "uid": _NAME,
    "shard": (lambda value: isinstance(value, str) and _is_shard_name(value) is not None, "shard-NUMBER"),
    "sources": (is_sources, "names and their roots"),
    "incomplete": _NAMES,
    "unfinished": _NAMES,
    "profile": _one_of(get_args(ProfileName)),
    "engine": _TEXT,
    "absent": _NAMES,
}


def _checked_manifest(said: Any, place: object) -> Manifest:
    if not isinstance(said, dict):
        raise _FieldError(f"it holds {_shown(said)}, not an object")
    said = dict(said)
    found = said.pop("format", None)
    if type(found) is not int or found < 1:
        raise _FieldError(f"format is {_shown(found)}, not a whole number from 1")
    if found > FORMAT:
        from vecloom.installation import describe_upgrade

        raise IndexFormatError(
            f"{place} was written by a newer vecloom (format {found}, this one reads {FORMAT}); "
            f'{describe_upgrade()}, or make it anew with "vecloom index --rebuild"'
        )
    _check_fields(said, _CHECKS, Manifest, "")
    models = said.pop("models")
    for number, model in enumerate(models):
        if not isinstance(model, dict):
            raise _FieldError(f"models.{number} is {_shown(model)}, not an object")
        _check_fields(model, _MODEL_CHECKS, ModelRecord, f"models.{number}.")
    names = [model["vector_name"] for model in models]
    if len(set(names)) != len(names):
        raise _FieldError(f"models: the vector {_shown(max(names, key=names.count))} comes twice")
    said |= {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    return Manifest(models=tuple(ModelRecord(**model) for model in models), **said)


def _check_fields(
    said: dict[Any, Any], checks: dict[str, _Check], made: type[Manifest] | type[ModelRecord], where: str
) -> None:
    """Refuse a field that is unknown, missing without a default, or not what its check wants."""
    for name, value in said.items():
        if name not in checks:
            raise _FieldError(f"{where}{str(name)[:60]} is no field")
        is_right, wanted = checks[name]
        if not is_right(value):
            raise _FieldError(f"{where}{name} is {_shown(value)}, not {wanted}")
    for part in fields(made):
        # An identity that is made up at each reading would be another one each time.
        optional = part.name != "uid" and (part.default, part.default_factory) != (MISSING, MISSING)
        if part.name not in said and not optional:
            raise _FieldError(f"{where}{part.name} is missing")


def _shown(value: Any) -> str:
    """A value for a message, short, and whatever it is."""
    if isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if type(value) is int and abs(value) > 10**18:
        return "a number of more than 18 digits"
    return f"{value!r:.60}"


def stamp(folder: Path) -> object:
    """What changes whenever ``index.json`` is replaced; None where there is none."""
    try:
        stat = (folder / FILE_NAME).stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def widened(manifest: Manifest, registry: Registry, asked: Asked) -> Manifest:
    """The manifest with further models, whose vectors all points lack (see `vecloom.recipe.changed`)."""
    wanted = changed(manifest, registry, asked)
    further = wanted.names[len(manifest.names) :]
    return replace(wanted, incomplete=manifest.incomplete + further) if further else wanted
