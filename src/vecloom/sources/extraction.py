"""Text out of PDF and docx files: limits, results, refusals.

Parsers of such files hang, take all memory and crash on files that are made for it, so this runs in the
reader process (`vecloom.pipeline.reading`), which has limits and is replaced when it dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from vecloom.errors import MissingExtraError
from vecloom.sources.entries import Reason

#: How the name of a document ends -> the module that reads it.
_MODULES = {".pdf": "pypdf", ".docx": "docx"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may take.

    ``seconds``, and ``seconds_per_mib`` more for each MiB of the file. ``memory``: bytes of address space
    that the reader process may take beside its libraries (enforced on Linux). ``unpacked``: bytes that a docx
    may unpack to. ``text``: characters that may come out of a PDF or docx.
    """

    seconds: float = 20.0
    seconds_per_mib: float = 10.0
    memory: int = 1 << 30
    unpacked: int = 1 << 28
    text: int = 1 << 24

    def seconds_for(self, size: int) -> float:
        """How long reading a file of ``size`` bytes may take."""
        return self.seconds + self.seconds_per_mib * size / (1 << 20)


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a document as (label, text) of each page; a docx is one section without a label.

    ``lost``: what could not be read though the rest could, and why.
    """

    sections: tuple[tuple[str, str], ...]
    lost: tuple[str, ...] = ()


class UnreadableError(ValueError):
    """A document that gives no text: the reason of its skip, and the detail as the message."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def document_suffix(name: str) -> str:
    """``.pdf`` or ``.docx`` where a file is called so, in any case; else an empty string."""
    low = name.lower()
    return next((suffix for suffix in _MODULES if low.endswith(suffix)), "")


@cache
def describe_missing_extra() -> str:
    """What a skipped document says if its module is not installed."""
    return str(MissingExtraError("reading PDF and docx", "documents"))


def installed(suffix: str) -> bool:
    """Whether documents of this suffix can be read here."""
    return find_spec(_MODULES[suffix]) is not None


def too_much_text(limits: Limits) -> UnreadableError:
    """The refusal of a document that holds more text than it may."""
    return UnreadableError("too large", f"holds more than {limits.text:,} characters of text")


def one_line(error: BaseException) -> str:
    """What a parser's error says, in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
