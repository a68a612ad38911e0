"""Which ignore files hold at a place of the tree, and which of them decides.

From the weakest to the strongest: ``.git/info/exclude``, then the ``.gitignore`` files from the top of the
work tree down, then the ``.vecloomignore`` files from the top down. ``.gitignore`` also counts in folders
that are no work tree (an unpacked archive); a nested work tree starts afresh, as in Git. A user's global
Git excludes do not count: an index should not depend on who makes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from vecloom.sources.files import read_regular
from vecloom.sources.gitignore import IgnoreFile, Rule, byte_text

_MAX_BYTES = 1 << 20
_GIT, _OWN = ".gitignore", ".vecloomignore"

# Tools write these into folders that they want kept out of commits; see `Rules.entered`.
_WHOLE_FOLDER = frozenset({"*", "/*", "**", "!.gitignore", "!/.gitignore"})


@dataclass(frozen=True, slots=True)
class _Level:
    """One ignore file: it sees ``lead`` plus the path behind its first ``cut`` characters."""

    file: IgnoreFile
    label: str
    cut: int = 0
    lead: str = ""

    def find(self, path: str, name: str) -> Rule | None:
        return self.file.find(self.lead + path[self.cut :], name)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of an entry; ``own`` where a .vecloomignore said it."""

    ignored: bool
    own: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The ignore files that hold in one folder, weakest first."""

    git: tuple[_Level, ...] = ()
    own: tuple[_Level, ...] = ()

    def verdict(self, path: str, name: str) -> Verdict | None:
        """What is said of an entry by the strongest rule that matches it, if any does.

        ``path`` is relative to the root, ``name`` its last part, both as `byte_text`; both end with a slash
        for a folder.
        """
        for levels in (self.own, self.git):
            for level in reversed(levels):
                rule = level.find(path, name)
                if rule is not None:
                    detail = f"{level.label}:{rule.line}: {rule.pattern}"
                    return Verdict(not rule.keeps, levels is self.own, detail)
        return None

    def entered(self, folder: Path, path: str, names: AbstractSet[str]) -> Rules:
        """The rules inside ``folder``, given the names in it and its ``path`` below the root ("" or "a/").

        A root whose .gitignore only says "nothing here is to be committed" (virtual environments, caches)
        was asked for by name, so that file is passed over.
        """
        rules = self
        if ".git" in names:
            rules = replace(rules, git=_excludes(folder, path))
        if _GIT in names:
            level = _level(folder / _GIT, path)
            if path or not all(rule.pattern in _WHOLE_FOLDER for rule in level.file.rules):
                rules = replace(rules, git=(*rules.git, level))
        if _OWN in names:
            rules = replace(rules, own=(*rules.own, _level(folder / _OWN, path)))
        return rules


def outer_rules(root: Path) -> Rules:
    """What the folders above ``root`` say, up to the top of its Git work tree.

    Rules that ignore ``root`` itself, or a folder that it lies in, are left out: who names it wants it.
    """
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if top is None or top == root:
        return Rules()
    rules = Rules()
    folder, path = top, ""
    for part in root.relative_to(top).parts:
        names = {name for name in (".git", _GIT, _OWN) if (folder / name).exists()}
        rules = rules.entered(folder, path, names)
        folder, name = folder / part, byte_text(part) + "/"
        path += name
        verdict = rules.verdict(path, name)
        if verdict is not None and verdict.ignored:
            rules = Rules()
    return Rules(_below(rules.git, path), _below(rules.own, path))


def _below(levels: tuple[_Level, ...], path: str) -> tuple[_Level, ...]:
    """Levels that saw paths from a work tree's top, for paths from the folder ``path`` in it."""
    return tuple(replace(level, cut=0, lead=path[level.cut :]) for level in levels)


def _level(file: Path, path: str) -> _Level:
    return _Level(IgnoreFile(_bytes(file)), _label(path, file.name), cut=len(path))


def _label(path: str, name: str) -> str:
    return path.encode("latin-1").decode(errors="replace") + name


def _bytes(file: Path) -> bytes:
    """The first MiB of ``file``; nothing where it cannot be read (the scan meets it as a file too)."""
    try:
        return read_regular(file, _MAX_BYTES)
    except OSError:
        return b""


def _excludes(folder: Path, path: str) -> tuple[_Level, ...]:
    """``info/exclude`` of the repository whose work tree ``folder`` is."""
    # In worktrees and submodules .git is a file that names the repository's folder, and that folder may
    # name the one it shares with others.
    git = _pointed(folder / ".git", rb"gitdir: (.+)") or folder / ".git"
    git = _pointed(git / "commondir", rb"(.+)") or git
    rules = IgnoreFile(_bytes(git / "info" / "exclude"))
    return (_Level(rules, _label(path, ".git/info/exclude"), cut=len(path)),) if rules.rules else ()


def _pointed(pointer: Path, pattern: bytes) -> Path | None:
    """The folder that a file of Git's names, if there is such a file."""
    found = re.match(pattern, _bytes(pointer))
    return pointer.parent / os.fsdecode(found[1].rstrip(b"\r")) if found else None
