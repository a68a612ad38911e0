"""Words of code: identifiers in parts and whole."""

from __future__ import annotations

import re
from itertools import pairwise

#: In the terms of a query, what tells names that its plain words may make from the words themselves: between
#: two that are joined, else in front.
JOINED = "+"

_BLANKED = re.compile(r"[^\w\s]")
_WORDS = re.compile(r"\w+")
_PARTS = re.compile(
    r"[A-Z]{2,}s(?![a-z])"  # URLs, IDs
    r"|[A-Z]+(?![a-z])"  # HTTP in HTTPServer
    r"|[A-Z]?[a-z]+"
    r"|[0-9]+"
)

# ASCII in one pass: letters, digits and "_" as they are, anything else a blank.
_ASCII = bytes(c if chr(c).isalnum() or c == ord("_") else 32 for c in range(128)) + bytes(128)


def identifiers(text: str) -> list[bytes]:
    r"""Runs of ``\w`` as they are written, in UTF-8."""
    if text.isascii():
        return text.encode().translate(_ASCII).split()
    return [word.encode() for word in _WORDS.findall(text)]


def parts_of(identifier: str) -> list[str]:
    """The words that an identifier is made of, in lower case.

    It is cut at ``_``, between letters and digits, before a capital that follows a small letter, and before
    the last capital of several that a small letter follows: ``parseHTTPResponse2`` gives parse, http,
    response, 2. A plural of capitals stays whole (``URLs``).
    """
    if identifier.isascii():
        # "[A-Z]+(?![a-z])" gives back the last capital where a small letter follows it.
        return [part.lower() for part in _PARTS.findall(identifier)]
    return [part.lower() for run in identifier.split("_") for part in _runs(run)]


def _runs(text: str) -> list[str]:
    """`parts_of` for any alphabet; letters without case are neither capital nor small."""
    if not text:
        return []
    cuts = [0]
    for at, (left, right) in enumerate(pairwise(text), 1):
        behind, further = text[at + 1 : at + 2], text[at + 2 : at + 3]
        digits = left.isdigit() != right.isdigit()
        word = behind.islower() and (behind != "s" or further.islower())  # or a plural of capitals
        hump = right.isupper() and (left.islower() or (left.isupper() and word))
        if digits or hump:
            cuts.append(at)
    return [text[start:end] for start, end in pairwise([*cuts, len(text)])]


def whole_of(identifier: str) -> str:
    """An identifier without its ``_`` and in lower case: ``get_name`` and ``getName`` are one."""
    return identifier.replace("_", "").lower()
