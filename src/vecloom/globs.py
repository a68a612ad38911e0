r"""Globs of .gitignore files as regular expressions, after ``wildmatch.c`` in Git."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NEVER = "(?!)"
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


def glob_regex(glob: str) -> str:
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
    leads = start == 0 or glob[start - 1] == "/" or not is_special(glob[:start])
    if end - start < 2 or not leads or glob[end : end + 1] not in ("", "/"):
        return _STAR, end
    return (_DEEP, end + 1) if end < len(glob) else (".*", end)


def is_special(text: str) -> bool:
    """Whether a glob is more than the name it spells."""
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
