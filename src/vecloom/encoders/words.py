"""A text's words as BM25 sees them."""

from __future__ import annotations

import re

_BLANKED = re.compile(r"[^\w\s]")
_WORDS = re.compile(r"\w+")

# ASCII in one pass: letters in lower case, digits and "_" as they are, anything else a blank.
_ASCII = bytes(ord(chr(c).lower()) if chr(c).isalnum() or c == ord("_") else 32 for c in range(128)) + bytes(
    128
)


def words(text: str) -> list[bytes]:
    r"""Runs of ``\w`` in lower case, in UTF-8.

    Equal to blanking ``[^\w\s]``, lower-casing, blanking ``[^\w]`` and splitting. The first blanking matters:
    a capital sigma becomes a final one by what stands behind it.
    """
    if text.isascii():
        return text.encode().translate(_ASCII).split()
    return [word.encode() for word in _WORDS.findall(_BLANKED.sub(" ", text).lower())]
