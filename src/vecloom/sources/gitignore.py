r"""The pattern language of .gitignore files, entry by entry as Git applies it while it walks.

Git asks of every file and folder that it meets whether the last pattern that matches *it* says ignore or
keep, and never looks below an ignored folder. (Libraries that match whole paths, parents included, need
priorities to imitate that, and differ from Git where ``!`` meets a folder.) All patterns of a file become
two regular expressions, one over names, one over paths, whose alternatives stand in reverse: the
alternative that matches is the rule that decides.

Git compares bytes: ``?`` is one byte of a name. So patterns and names are compared as `byte_text`.

Rules: https://git-scm.com/docs/gitignore; the details are those of ``wildmatch.c`` and ``dir.c`` in Git.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NEVER = "(?!)"
# A folder's name ends with a slash, which no wildcard may take for an empty name in the folder.
_FOLDER = "(?<!/)/"
_ANY = "(?<!/)/?"
_STAR = "*"
_DEEP = "**/"

# POSIX classes by the characters of a regular expression's set; ASCII, as in Git.
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


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
    """The rules of one ignore file."""

    def __init__(self, data: bytes) -> None:
        names: list[tuple[int, str]] = []
        paths: list[tuple[int, str]] = []
        self.rules: list[Rule] = []
        lines = data.removeprefix(codecs.BOM_UTF8).decode("latin-1").split("\n")
        for number, line in enumerate(lines, 1):
            pattern = _trimmed(line.removesuffix("\r"))
            if not pattern or pattern.startswith("#"):
                continue
            keeps = pattern.startswith("!")
            glob = pattern[keeps:]
            folder_only = glob.endswith("/")
            glob = glob[: len(glob) - folder_only]
            found = (len(self.rules), _regex(glob.removeprefix("/")) + (_FOLDER if folder_only else _ANY))
            shown = pattern.encode("latin-1").decode(errors="replace")
            self.rules.append(Rule(number, shown, keeps))
            (paths if "/" in glob else names).append(found)
        self._names = _Alternatives(names)
        self._paths = _Alternatives(paths)

    def find(self, path: str, name: str) -> Rule | None:
        """The rule that decides about one entry, or None.

        ``path`` is relative to the folder of the ignore file and ``name`` its last part, both as
        `byte_text`; both end with a slash for a folder.
        """
        last = max(self._names.last(name), self._paths.last(path))
        return self.rules[last] if last >= 0 else None


class _Alternatives:
    """Numbered regular expressions in one, to ask for the last that matches a whole text."""

    def __init__(self, numbered: Sequence[tuple[int, str]]) -> None:
        reverse = numbered[::-1]
        self._numbers = [number for number, _ in reverse]
        joined = "|".join(f"({regex})" for _, regex in reverse)
        self._match = re.compile(joined, re.DOTALL).fullmatch if reverse else None

    def last(self, text: str) -> int:
        found = self._match(text) if self._match else None
        return self._numbers[found.lastindex - 1] if found and found.lastindex else -1


def _trimmed(line: str) -> str:
    """``line`` without its trailing spaces, as long as no backslash escapes them."""
    bare = line.rstrip(" ")
    slashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if slashes % 2 and len(bare) < len(line) else bare


def _regex(glob: str) -> str:
    """The regular expression of a glob; one that never matches where the glob is malformed.

    All stars but the last are atomic and take the least they can: what a star leaves the next one may
    take, so nothing is lost, and a hostile pattern cannot make the match explode.
    """
    tokens = _tokens(glob)
    if not tokens:
        return _NEVER
    first, *others = _split(tokens, _DEEP)
    regex = _segment(first)
    for run in others[:-1]:
        regex += f"(?>(?:.*?/)??{_segment(run)})"
    return regex + (f"(?:.*/)?{_segment(others[-1])}" if others else "")


def _segment(tokens: Sequence[str]) -> str:
    first, *others = ["".join(run) for run in _split(tokens, _STAR)]
    atomic = "".join(f"(?>[^/]*?{run})" for run in others[:-1])
    return first + atomic + (f"[^/]*{others[-1]}" if others else "")


def _split(tokens: Sequence[str], mark: str) -> list[list[str]]:
    runs: list[list[str]] = [[]]
    for token in tokens:
        if token == mark:
            runs.append([])
        else:
            runs[-1].append(token)
    return runs


def _tokens(glob: str) -> list[str] | None:
    """Marks of stars, and regular expressions of one character each; None where malformed."""
    tokens: list[str] = []
    i = 0
    while i < len(glob):
        char = glob[i]
        i += 1
        if char == "*":
            token, i = _stars(glob, i - 1)
        elif char == "?":
            token = "[^/]"
        elif char == "[":
            parsed = _set(glob, i)
            if parsed is None:
                return None
            token, i = parsed
        elif char == "\\":
            if i == len(glob):
                return None
            token = re.escape(glob[i])
            i += 1
        else:
            token = re.escape(char)
        tokens.append(token)
    return tokens


def _stars(glob: str, start: int) -> tuple[str, int]:
    end = start
    while glob[end : end + 1] == "*":
        end += 1
    # Git compares the literal beginning first, and takes what follows for the start of the pattern.
    leads = start == 0 or glob[start - 1] == "/" or not _special(glob[:start])
    if end - start < 2 or not leads or glob[end : end + 1] not in ("", "/"):
        return _STAR, end
    return (_DEEP, end + 1) if end < len(glob) else (".*", end)


def _special(text: str) -> bool:
    return any(char in "*?[\\" for char in text)


def _set(glob: str, i: int) -> tuple[str, int] | None:
    """The set that opens before ``i``, and where it ends; None where it does not."""
    negated = glob[i : i + 1] in ("!", "^")
    i += negated
    items: list[str] = []
    previous = ""
    first = True
    while first or glob[i : i + 1] != "]":
        first = False
        end = glob.find("]", i + 2) if glob.startswith("[:", i) else 0
        if end > i + 2 and glob[end - 1] == ":":
            named = _CLASSES.get(glob[i + 2 : end - 1])
            if named is None:
                return None
            items.append(named)
            previous, i = "", end + 1
            continue
        spans = previous and glob[i : i + 1] == "-" and glob[i + 1 : i + 2] not in ("", "]")
        i += bool(spans)
        i += glob[i : i + 1] == "\\"
        char = glob[i : i + 1]
        if not char:
            return None
        i += 1
        if not spans:
            items.append(re.escape(char))
        elif previous <= char:
            items.append(f"{re.escape(previous)}-{re.escape(char)}")
        previous = "" if spans else char
    return f"(?!/)[{'^' if negated else ''}{''.join(items)}]", i + 1
