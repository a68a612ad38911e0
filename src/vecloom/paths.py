"""Names of files and sources as text that can be stored, compared and shown."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

# Lone surrogates stand for bytes that are not UTF-8 (PEP 383); the backslash is what escapes them.
_NEEDS_ESCAPE = re.compile(r"[\\\ud800-\udfff]")

# C0, DEL and C1 controls, line and paragraph separators, direction overrides, lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if char == "\\":
        return "\\\\"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def escape_name(name: str) -> str:
    r"""A file name as valid Unicode: undecodable bytes as ``\xff``, a backslash doubled, the rest as it is.

    Different names give different results, on every run and machine. Control characters stay; `printable`
    is for terminals.
    """
    if name.isascii() and "\\" not in name:
        return name
    return _NEEDS_ESCAPE.sub(_escape, name)


def printable(text: str, keep: str = "") -> str:
    r"""``text`` for a terminal: control characters and direction overrides as ``\x1b``, ``\u202e``.

    Characters in ``keep`` (say newline and tab) stay.
    """

    def show(match: re.Match[str]) -> str:
        code = ord(match[0])
        if match[0] in keep:
            return match[0]
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNPRINTABLE.sub(show, text)


def file_stem(name: str) -> str:
    """A file's name up to its endings (``a.test.js``: a); a dot in front is no ending."""
    return name[:1] + name[1:].partition(".")[0]


def source_name(root: Path, taken: Container[str]) -> str:
    """The name of a source: its root's base name, with ``-2``, ``-3`` where that is taken.

    The root of a file system has no base name and is called ``root``.
    """
    named = root.name if root.name not in {"", ".."} else root.resolve().name
    base = escape_name(named) or "root"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
