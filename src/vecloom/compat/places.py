"""Where V4's folders are, on Kaggle and elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger("vecloom.compat.v4")

#: Where a notebook on Kaggle writes; V4's default.
KAGGLE = "/kaggle/working"
DEFAULT_CHUNKS = "/kaggle/working/rad_clean/Chunked"

_said: set[Path] = set()


def is_kaggle() -> bool:
    """Whether this is a machine of Kaggle's."""
    return Path(KAGGLE).is_dir()


def output_folder(named: str) -> Path:
    """The folder that is named; for V4's default off Kaggle the current one, which is said once."""
    if named != KAGGLE or is_kaggle():
        return Path(named)
    here = Path.cwd()
    if here not in _said:
        _said.add(here)
        logger.warning("there is no %s here; %s is used in its place", KAGGLE, here)
    return here


def chunks_folder(named: str | Path) -> Path | None:
    """The folder or file of chunks that is named, or None where there is none.

    What begins with V4's default is looked for below the current folder off Kaggle, in ``Chunked`` and
    ``chunked`` too.
    """
    path = Path(named)
    if path.exists() or is_kaggle() or not path.is_relative_to(KAGGLE):
        return path if path.exists() else None
    here = output_folder(KAGGLE)
    places = (here / path.relative_to(KAGGLE), here / "Chunked", here / "chunked")
    return next((place for place in places if place.is_dir()), None)
