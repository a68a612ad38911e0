"""Bytes to text: byte order marks, UTF-16 without one, declared and guessed 8-bit encodings, binaries."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from vecloom.sources.entries import Reason

_BOMS = (
    # UTF-32's little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 8192
_CONTROLS = bytes(sorted(set(range(32)) - set(b"\t\n\v\f\r\b\x1b") | {0x7F}))
_MAX_CONTROLS = 0.02  # of the bytes; terminal recordings and form feeds pass, machine code does not
_MAX_HIGH = 0.3  # of the bytes; Western European prose has under 0.1, other scripts nearly all

# PEP 263 (Emacs and Vim write it so too), and the declarations of XML and HTML.
_DECLARED = re.compile(rb"(?:coding[:=]|encoding=|charset=)\s*[\"']?([-\w.]+)", re.IGNORECASE)
_FAMILIES = (
    "iso8859",
    "cp",
    "koi8",
    "euc",
    "shift_jis",
    "big5",
    "gb",
    "mac",
    "iso2022",
    "johab",
    "tis",
    "ptcp",
    "hz",
)


_INVALID = re.compile("[\0\ud800-\udfff]")


def valid(text: str) -> str:
    """Text from JSON or a parser, which can hold lone surrogates and NUL: both become U+FFFD."""
    return _INVALID.sub("\ufffd", text)


def extracted(text: str) -> str:
    r"""Text from a parser, valid, its lines ended by "\n" and its pages by a blank line."""
    return valid(text).replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and the encoding it came in, as counted and shown to the user."""

    text: str
    encoding: str


def decode_bytes(data: bytes) -> Decoded | tuple[Reason, str]:
    """The text of a file's bytes, or why they are none.

    UTF-8, with or without its mark; UTF-16 and UTF-32 with theirs; UTF-16 without it where every other
    byte is zero; then the encoding that the file declares; UTF-8 with single bytes replaced where most of
    what is not ASCII is valid; and cp1252 where the bytes look like Western European text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _strict(data[len(mark) :], encoding)
    if b"\0" in data:
        wide = _wide(data[:_SAMPLE])
        return _strict(data, wide) if wide else ("binary", "holds NUL bytes")
    if _control_share(data[:_SAMPLE]) > _MAX_CONTROLS:
        return "binary", "holds many control characters"
    try:
        return Decoded(data.decode(), "utf-8")
    except UnicodeDecodeError:
        return _legacy(data)


def _strict(data: bytes, encoding: str) -> Decoded | tuple[Reason, str]:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        return "encoding", f"begins like {encoding} but is not: {error.reason} at byte {error.start:,}"
    if "\0" in text or _control_share(text[:_SAMPLE].encode()) > _MAX_CONTROLS:
        return "binary", f"many control characters, read as {encoding}"
    return Decoded(text, encoding)


def _wide(sample: bytes) -> str | None:
    """The UTF-16 that ``sample`` evidently is: half of its bytes, all on one side, are mostly zero."""
    even, odd = sample[::2], sample[1::2]
    zeros = even.count(0), odd.count(0)
    if zeros[0] == 0 and zeros[1] > 0.6 * len(odd):
        return "utf-16-le"
    if zeros[1] == 0 and zeros[0] > 0.6 * len(even):
        return "utf-16-be"
    return None


def _control_share(sample: bytes) -> float:
    return 1 - len(sample.translate(None, _CONTROLS)) / len(sample) if sample else 0.0


def _legacy(data: bytes) -> Decoded | tuple[Reason, str]:
    declared = _DECLARED.search(data[:1024])
    if declared and (decoded := _as(data, declared[1].decode())):
        return decoded
    lossy = data.decode(errors="replace")
    bad = lossy.count("\ufffd")
    if len(lossy) - len(lossy.encode("ascii", "ignore")) > 4 * bad:
        return Decoded(lossy, "utf-8 with bad bytes replaced")
    high = len(data) - len(data.decode("ascii", "ignore"))
    if high > _MAX_HIGH * len(data):
        return "encoding", "neither UTF-8 nor UTF-16, and declares no other encoding"
    return _as(data, "cp1252") or Decoded(data.decode("latin-1"), "latin-1")


def _as(data: bytes, name: str) -> Decoded | None:
    try:
        codec = codecs.lookup(name).name
        return Decoded(data.decode(codec), codec) if codec.startswith(_FAMILIES) else None
    except (LookupError, UnicodeDecodeError):
        return None
