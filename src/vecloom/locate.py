"""Which index is meant when none is named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vecloom.config import Config
from vecloom.errors import IndexFormatError, UsageError
from vecloom.pipeline.manifest import FILE_NAME, Manifest, load_manifest
from vecloom.weights import unheard


def _read_indexes(config: Config, broken: dict[Path, str]) -> list[tuple[Path, Manifest]]:
    """Read the manifests of the data directory in the order of their names; ``broken`` gets what is wrong."""
    found = []
    for file in sorted((config.data_dir / "indexes").glob(f"*/{FILE_NAME}")):
        try:
            found.append((file.parent, load_manifest(file.parent)))
        except IndexFormatError as error:
            broken[file.parent] = str(error)
    return found


def _tell(broken: Mapping[Path, str], notice: Callable[[str], None]) -> None:
    for why in broken.values():
        notice(f"vecloom: left out: {why}")


def index_for_roots(config: Config, roots: Sequence[Path], notice: Callable[[str], None] = unheard) -> Path:
    """Where ``vecloom index ROOT...`` without ``--index`` writes.

    The index that holds one of these roots already, else a new folder in the data directory that is named
    after the first one. ``notice`` is given one line for each other index that cannot be read.

    Raises:
        UsageError: several indexes hold them.
    """
    absolute = {str(root.resolve()) for root in roots}
    broken: dict[Path, str] = {}
    found = _read_indexes(config, broken)
    holding = [folder for folder, manifest in found if absolute & set(manifest.sources.values())]
    folder = holding[0] if holding else _new_folder(config, roots[0].resolve())
    broken.pop(folder, None)  # who opens it is told so
    _tell(broken, notice)
    if len(holding) > 1:
        raise UsageError(f"several indexes hold {roots[0]}; name one with --index: {_listed(holding)}")
    return folder


def _new_folder(config: Config, root: Path) -> Path:
    name = re.sub(r"[^\w.-]+", "-", root.name).strip("-.") or "root"
    digest = hashlib.sha256(str(root).encode(errors="surrogateescape")).hexdigest()[:8]
    return config.data_dir / "indexes" / f"{name}-{digest}"


def index_for_search(config: Config, here: Path, notice: Callable[[str], None] = unheard) -> Path:
    """Which index a search without ``--index`` asks.

    The one with the innermost root around the working folder, else the only one. ``notice`` is given one line
    for each index that cannot be read.

    Raises:
        UsageError: there is none, or several and none around ``here``.
    """
    broken: dict[Path, str] = {}
    found = _read_indexes(config, broken)
    _tell(broken, notice)
    around = [
        (len(Path(root).parts), folder)
        for folder, manifest in found
        for root in manifest.sources.values()
        if here.resolve().is_relative_to(root)
    ]
    if around:
        return max(around)[1]
    if len(found) == 1:
        return found[0][0]
    if broken and not found:
        raise UsageError("no index can be read; see the lines above, or name another one with --index")
    if not found:
        raise UsageError('there is no index yet; make one with "vecloom index PATH"')
    raise UsageError(f"name one of the indexes with --index: {_listed([folder for folder, _ in found])}")


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
