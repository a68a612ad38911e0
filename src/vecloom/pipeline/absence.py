"""Detect a tree that is gone as a whole, as on an unmounted drive: its points are kept and hidden."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vecloom.pipeline.states import RootMark

#: So many files, and this share of all that are known, must be gone at once.
LEAST_FILES, LEAST_SHARE = 100, 0.9

#: What systems leave in folders that are empty for their user.
_LITTER = frozenset({".DS_Store", ".localized", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Absence:
    """A source whose ``files`` are gone with their root, and ``reason``: what is strange about the root."""

    root: str
    files: int
    reason: str

    def line(self, source: str) -> str:
        """One line for the user, with both ways out."""
        return (
            f"{self.files:,} files of {source} are gone and {self.root} {self.reason}: their chunks are "
            f"kept, and hidden from search; bring the tree back and index again, or delete them: "
            f"vecloom index {self.root} --yes"
        )


def mark_of(root: Path) -> RootMark:
    """What a root looks like now."""
    device = root.stat().st_dev
    # SQLite keeps signed numbers.
    return RootMark(device if device < 2**63 else device - 2**64, _has_git(root))


def absence_reason(root: Path, before: RootMark | None, known: int, gone: int) -> str:
    """Say what is strange about a root most of whose files are gone; "" where they were just deleted.

    ``before``: what the root looked like when its last run was complete. ``known``: how many files the index
    has of it, ``gone`` of which are not there.
    """
    if gone < LEAST_FILES or gone < LEAST_SHARE * known:
        return ""
    if is_empty(root):
        return "is empty"
    if before is None:
        return ""
    now = mark_of(root)
    if now.device != before.device:
        return "lies on another device than before"
    return "has lost its .git" if before.has_git and not now.has_git else ""


def is_empty(root: Path) -> bool:
    """True if a root holds no file at all (or is a file without a byte)."""
    if not root.is_dir():
        return root.stat().st_size == 0
    return all(set(names) <= _LITTER for _, _, names in os.walk(root))


def _has_git(root: Path) -> bool:
    """True if a root holds a repository, under whatever name: who renames .git has not lost it."""
    if not root.is_dir():
        return False
    return (root / ".git").exists() or any(map(_is_repository, root.iterdir()))


def _is_repository(folder: Path) -> bool:
    try:
        return (folder / "HEAD").is_file() and (folder / "objects").is_dir()
    except PermissionError:  # a folder that this user may not enter
        return False
