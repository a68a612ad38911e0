"""Which index is meant when none is named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vecloom.config import Config
from vecloom.errors import IndexFormatError, UsageError
from vecloom.pipeline.manifest import FILE_NAME, Manifest, load_manifest


def indexes(config: Config) -> Iterator[tuple[Path, Manifest]]:
    """The indexes of the data directory that can be read, in the order of their names."""
    for file in sorted((config.data_dir / "indexes").glob(f"*/{FILE_NAME}")):
        try:
            yield file.parent, load_manifest(file.parent)
        except IndexFormatError:
            continue


def index_for_roots(config: Config, roots: Sequence[Path]) -> Path:
    """Where ``vecloom index ROOT...`` without ``--index`` writes.

    The index that holds one of these roots already, else a new folder in the data directory that is named
    after the first one.

    Raises:
        UsageError: several indexes hold them.
    """
    absolute = {str(root.resolve()) for root in roots}
    holding = [folder for folder, manifest in indexes(config) if absolute & set(manifest.sources.values())]
    if len(holding) > 1:
        raise UsageError(f"several indexes hold {roots[0]}; name one with --index: {_listed(holding)}")
    if holding:
        return holding[0]
    root = roots[0].resolve()
    name = re.sub(r"[^\w.-]+", "-", root.name).strip("-.") or "root"
    return (
        config.data_dir
        / "indexes"
        / f"{name}-{hashlib.sha256(str(root).encode(errors='surrogateescape')).hexdigest()[:8]}"
    )


def index_for_search(config: Config, here: Path) -> Path:
    """Which index a search without ``--index`` asks.

    The one with the innermost root around the working folder, else the only one.

    Raises:
        UsageError: there is none, or several and none around ``here``.
    """
    found = list(indexes(config))
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
    if not found:
        raise UsageError('there is no index yet; make one with "vecloom index PATH"')
    raise UsageError(f"name one of the indexes with --index: {_listed([folder for folder, _ in found])}")


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
