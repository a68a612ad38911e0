"""The walk over a root: what to read, what to pass over and why, in the order of the paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vecloom.errors import UsageError
from vecloom.paths import escape_name
from vecloom.sources.entries import File, ScanOptions, Skip
from vecloom.sources.extraction import describe_missing_extra, document_suffix, installed
from vecloom.sources.files import read_regular, skip_for, too_large, unreadable_root
from vecloom.sources.gitignore import byte_text
from vecloom.sources.languages import language_of_name
from vecloom.sources.records import scan_records
from vecloom.sources.rules import Rules, outer_rules
from vecloom.sources.unwanted import (
    CACHE_SIGNATURE,
    ENVIRONMENT_MARKS,
    SECRET_FOLDERS,
    is_tool_folder,
    unwanted_name,
)

_DEFAULT = ScanOptions()


def scan(root: Path, options: ScanOptions = _DEFAULT) -> Iterator[File | Skip]:
    """Everything below ``root``, in the order of the paths (by code point): files to read, and skips.

    ``root`` is a folder, one file (its path is its name, and what its name says does not count against it),
    or a .jsonl file, whose lines are records (`vecloom.sources.records`). Links are not followed, a link as
    ``root`` itself excepted. Nothing is read but ignore files and cache tags.

    Raises:
        UsageError: there is no such file or folder, at once and not at the first step.
        VecloomError: ``root`` itself cannot be listed, now or later; an empty scan would look like an
            emptied folder.
    """
    try:
        real = root.resolve(strict=True)
        info = real.stat()
        if stat.S_ISDIR(info.st_mode):
            with os.scandir(real):
                return _walk(real, options)
    except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:
        raise UsageError(f"nothing to index at {str(root)!r}: no such file or folder") from error
    except OSError as error:
        raise unreadable_root(root, error) from error
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(f"{str(root)!r} is neither a folder nor a regular file; name one of these")
    if root.suffix.lower() == ".jsonl":
        return scan_records(real, info, options)
    return iter([_file(real, escape_name(root.name), info, options, wanted=True)])


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder still to be listed.

    ``path``, "" or ending with a slash, is relative to the root; ``raw`` the same as ignore rules see it.
    """

    absolute: str
    raw: str
    path: str
    rules: Rules
    wanted: bool


class _Walk:
    def __init__(self, root: Path, options: ScanOptions) -> None:
        self.root = str(root)
        self.options = options
        self.excluded = {str(path.resolve()) for path in options.exclude}

    def children(self, folder: _Folder) -> list[File | Skip | _Folder]:
        """What is in a folder, in order; or the one skip that stands for the whole of it."""
        try:
            with os.scandir(folder.absolute) as listing:
                entries = list(listing)
        except OSError as error:
            if not folder.path:
                raise unreadable_root(Path(self.root), error) from error
            return [skip_for(folder.path, error)]
        names = {entry.name for entry in entries}
        if not folder.wanted and (detail := _regenerable(folder.absolute, names)):
            return [Skip(folder.path, "tool folder", detail)]
        rules = folder.rules.entered(Path(folder.absolute), folder.raw, names)
        found = [child for entry in entries if (child := self._child(entry, folder, rules))]
        return sorted(found, key=lambda child: child.path)

    def _child(self, entry: os.DirEntry[str], folder: _Folder, rules: Rules) -> File | Skip | _Folder | None:
        path = folder.path + escape_name(entry.name)
        try:
            if entry.path in self.excluded:
                return None
            if entry.is_dir(follow_symlinks=False):
                return self._folder(entry, folder, path + "/", rules)
            return self._leaf(entry, folder.raw, path, rules)
        except OSError as error:
            return skip_for(path, error)

    def _folder(self, entry: os.DirEntry[str], parent: _Folder, path: str, rules: Rules) -> Skip | _Folder:
        if entry.name in SECRET_FOLDERS and not self.options.secrets:
            return Skip(path, "secret", "by its name")
        name = byte_text(entry.name) + "/"
        raw = parent.raw + name
        verdict = rules.verdict(raw, name)
        if verdict and verdict.ignored:
            return Skip(path, "ignored", verdict.detail)
        wanted = verdict is not None and verdict.own and entry.name != ".git"
        if not wanted and is_tool_folder(entry.name):
            return Skip(path, "tool folder", "by its name")
        return _Folder(entry.path, raw, path, rules, wanted)

    def _leaf(self, entry: os.DirEntry[str], parent: str, path: str, rules: Rules) -> File | Skip:
        by_name = unwanted_name(entry.name)
        if by_name and by_name[0] == "secret" and not self.options.secrets:
            return Skip(path, *by_name)
        name = byte_text(entry.name)
        verdict = rules.verdict(parent + name, name)
        if verdict and verdict.ignored:
            return Skip(path, "ignored", verdict.detail)
        if entry.name == ".git":
            return Skip(path, "tool folder", "names the repository of a worktree or submodule")
        if entry.is_symlink():
            return self._link(entry.path, path)
        if not entry.is_file(follow_symlinks=False):
            return Skip(path, "special file", "a FIFO, socket or device")
        wanted = verdict is not None and verdict.own
        if by_name and by_name[0] == "binary":
            return Skip(path, *by_name)
        if by_name and by_name[0] == "generated" and not wanted and not self.options.generated:
            return Skip(path, *by_name)
        return _file(Path(entry.path), path, entry.stat(follow_symlinks=False), self.options, wanted)

    def _link(self, link: str, path: str) -> Skip:
        try:
            target = os.path.realpath(link, strict=True)
        except OSError as error:
            return Skip(path, "broken link", error.strerror or str(error))
        inside = Path(target).is_relative_to(self.root)
        shown = escape_name(os.path.relpath(target, self.root) if inside else target)
        return Skip(path, "link inside" if inside else "link outside", f"to {shown}")


def _walk(root: Path, options: ScanOptions) -> Iterator[File | Skip]:
    walk = _Walk(root, options)
    pending: list[File | Skip | _Folder] = [_Folder(str(root), "", "", outer_rules(root), wanted=True)]
    while pending:
        item = pending.pop()
        if isinstance(item, _Folder):
            pending.extend(reversed(walk.children(item)))
        else:
            yield item


def _file(real: Path, path: str, info: os.stat_result, options: ScanOptions, wanted: bool) -> File | Skip:
    suffix = document_suffix(real.name)
    if suffix and not installed(suffix):
        return Skip(path, "missing extra", describe_missing_extra())
    limit = options.max_document_bytes if suffix else _limit(real.name, options)
    if info.st_size > limit:
        return too_large(path, info.st_size, limit)
    if not info.st_size:
        return Skip(path, "empty")
    return File(path, real, info.st_size, info.st_mtime_ns, limit, wanted)


def _limit(name: str, options: ScanOptions) -> int:
    language = language_of_name(name)
    kind = language.kind if language else "prose"
    return {"data": options.max_data_bytes, "notebook": options.max_notebook_bytes}.get(
        kind, options.max_bytes
    )


def _regenerable(folder: str, names: set[str]) -> str | None:
    """What shows that a tool made this folder and can make it again, if anything does."""
    if not names.isdisjoint(ENVIRONMENT_MARKS):
        return "a virtual environment"
    if "CACHEDIR.TAG" not in names:
        return None
    try:
        tag = read_regular(Path(folder, "CACHEDIR.TAG"), len(CACHE_SIGNATURE))
    except OSError:
        return None
    return "a cache (CACHEDIR.TAG)" if tag == CACHE_SIGNATURE else None
