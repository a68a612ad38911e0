"""Where the grammars are unpacked: semble-grammars brings them as one archive of shared libraries."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

#: The variable that semble-grammars reads. What the user sets wins over vecloom's own cache folder.
VARIABLE = "SEMBLE_GRAMMARS_CACHE_DIR"

#: What to do where no grammar can be unpacked.
HINT = (
    f"grammars cannot be unpacked or loaded: set VECLOOM_CACHE_DIR or {VARIABLE} to a folder that can be "
    f"written and run from, or unpack them there ahead with vecloom models pull"
)

#: The folder that `use_cache` has set for this process.
_ours: str | None = None


def use_cache(cache_dir: Path) -> None:
    """Unpack grammars below ``cache_dir``, in this process and its children.

    Where the user names another folder, that is used.
    """
    global _ours
    if (os.environ.get(VARIABLE) or None) in (None, _ours):
        # By version: semble-grammars itself does not look whether a file is that of another one.
        _ours = str(cache_dir / "grammars" / importlib.metadata.version("semble-grammars"))
        os.environ[VARIABLE] = _ours


def default_folder() -> Path | None:
    """The folder that semble-grammars would take by itself, where `use_cache` has set another one."""
    if _ours is None or os.environ.get(VARIABLE) != _ours:
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "semble" / "grammars" / importlib.metadata.version("semble-grammars")


def unpack_all() -> Path:
    """Unpack every grammar that is not unpacked yet, in one pass over the archive; returns their folder.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a library in the archive is not the one that its manifest names.
    """
    from semble_grammars.cache import cache_dir
    from semble_grammars.loader import _platform_manifest

    manifest = _platform_manifest()
    platform = str(manifest["platform"])
    folder = Path(cache_dir(), platform)
    wanted = {entry["file"]: entry["sha256"] for entry in manifest["languages"].values()}
    missing = {name: sha256 for name, sha256 in wanted.items() if not (folder / name).exists()}
    if not missing:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    archive = resources.files("semble_grammars") / "grammars" / platform / manifest["archive"]
    with resources.as_file(archive) as path, tarfile.open(path, "r:gz") as tar:
        for member in tar:
            source = tar.extractfile(member) if member.name in missing else None
            if source is not None:
                _write_library(source.read(), folder / member.name, missing[member.name])
    return folder


def _write_library(data: bytes, target: Path, sha256: str) -> None:
    """Write a shared library whole or not at all: others may load it at any moment."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{target.name} in the archive of semble-grammars is damaged; install it again")
    file, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(file, "wb") as writer:
            writer.write(data)
        Path(part).chmod(0o755)
        Path(part).replace(target)
    finally:
        Path(part).unlink(missing_ok=True)
