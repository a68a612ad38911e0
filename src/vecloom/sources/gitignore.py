r"""The rules of .gitignore files, entry by entry as Git applies them while it walks.

Git asks of every file and folder that it meets whether the last pattern that matches *it* says ignore or
keep, and never looks below an ignored folder. (Libraries that match whole paths, parents included, need
priorities to imitate that, and differ from Git where ``!`` meets a folder.) Here a rule that is a name, or
a star and an ending, is looked up; the others of a file become one regular expression, whose alternatives
stand in reverse, so that the one that matches is the last rule that does.

Git compares bytes: ``?`` is one byte of a name. So patterns and names are compared as `byte_text`.

Rules: https://git-scm.com/docs/gitignore; the details are those of ``dir.c`` in Git.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import dataclass

from vecloom.globs import glob_regex, is_special

_NO_RULE = -1


def byte_text(name: str) -> str:
    """A file name with one character (U+0000 to U+00FF) for each of its bytes."""
    return name if name.isascii() else os.fsencode(name).decode("latin-1")


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern: the line it stands on (from 1), as written; ``keeps`` where it begins with ``!``."""

    line: int
    pattern: str
    keeps: bool


class IgnoreFile:
    """The rules of one ignore file, given its bytes."""

    def __init__(self, data: bytes) -> None:
        self.rules: list[Rule] = []
        self._names, self._endings = _Literals(), _Literals()
        names, paths = _Patterns(), _Patterns()
        lines = data.removeprefix(codecs.BOM_UTF8).decode("latin-1").split("\n")
        for number, line in enumerate(lines, 1):
            pattern = _trimmed(line.removesuffix("\r"))
            if not pattern or pattern.startswith("#"):
                continue
            keeps = pattern.startswith("!")
            glob = pattern[keeps:]
            folder_only = glob.endswith("/")
            glob = glob[: len(glob) - folder_only]
            rule = len(self.rules)
            self.rules.append(Rule(number, pattern.encode("latin-1").decode(errors="replace"), keeps))
            if "/" in glob:
                paths.add(rule, glob.removeprefix("/"), folder_only)
            elif not is_special(glob):
                self._names.add(rule, glob, folder_only)
            elif glob[0] == "*" and len(glob) > 1 and not is_special(glob[1:]):
                self._endings.add(rule, glob[1:], folder_only)
            else:
                names.add(rule, glob, folder_only)
        self._other_names, self._paths = names.compiled(), paths.compiled()

    def find(self, path: str, name: str) -> Rule | None:
        """The rule that decides about one entry, or None.

        ``path`` is relative to the folder of the ignore file and ``name`` its last part, both as
        `byte_text`; both end with a slash for a folder.
        """
        last = max(
            self._names.rules.get(name, _NO_RULE),
            self._endings.last_ending(name),
            self._other_names.last(name),
            self._paths.last(path),
        )
        return None if last == _NO_RULE else self.rules[last]


class _Literals:
    """Rules by the name, or the end of the name, that they match; folders' names end with a slash."""

    def __init__(self) -> None:
        self.rules: dict[str, int] = {}
        self._lengths: set[int] = set()

    def add(self, rule: int, text: str, folder_only: bool) -> None:
        for found in [f"{text}/"] if folder_only else [text, f"{text}/"]:
            self.rules[found] = rule
            self._lengths.add(len(found))

    def last_ending(self, name: str) -> int:
        found = (self.rules.get(name[-length:], _NO_RULE) for length in self._lengths)
        return max(found, default=_NO_RULE)


class _Patterns:
    """Rules by regular expression, being collected."""

    def __init__(self) -> None:
        self._numbered: list[tuple[int, str]] = []

    def add(self, rule: int, glob: str, folder_only: bool) -> None:
        # No wildcard may take a folder's own slash for that of an empty name in the folder.
        self._numbered.append((rule, glob_regex(glob) + ("(?<!/)/" if folder_only else "(?<!/)/?")))

    def compiled(self) -> _Alternatives:
        reverse = self._numbered[::-1]
        # An empty group at its end tells which alternative matched; groups around them all would make
        # every failed attempt cost as much as there are rules.
        joined = "|".join(f"{regex}()" for _, regex in reverse)
        return _Alternatives([rule for rule, _ in reverse], re.compile(joined, re.DOTALL))


@dataclass(frozen=True, slots=True)
class _Alternatives:
    """One alternative a rule, the last rule first."""

    rules: list[int]
    regex: re.Pattern[str]

    def last(self, text: str) -> int:
        found = self.regex.fullmatch(text) if self.rules else None
        return self.rules[found.lastindex - 1] if found and found.lastindex else _NO_RULE


def _trimmed(line: str) -> str:
    """``line`` without its trailing spaces, as long as no backslash escapes them."""
    bare = line.rstrip(" ")
    slashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if slashes % 2 and len(bare) < len(line) else bare
