"""What a scan yields: files to read, and skips with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Reason: TypeAlias = Literal[
    "ignored",  # a rule of a .gitignore, .vecloomignore or .git/info/exclude
    "tool folder",  # what tools put beside a project: .git, node_modules, caches, virtual environments
    "secret",  # credentials and private keys
    "generated",  # lock files, minified scripts, compiled protocols, drawings
    "binary",
    "too large",
    "empty",
    "link inside",  # a symbolic link to something that is scanned by its own name
    "link outside",  # a symbolic link that leaves the root: never followed
    "broken link",
    "special file",  # a FIFO, socket or device
    "permission",
    "vanished",  # gone, or replaced by something else, since it was listed
    "unreadable",  # any other refusal of the operating system
    "encoding",
    "broken notebook",
    "broken document",  # a PDF or docx that its parser cannot read
    "broken page",  # one page of a PDF that is indexed otherwise
    "encrypted",
    "no text",  # a PDF whose pages are pictures
    "too heavy",  # a document that takes too long or too much memory to be read
    "missing extra",  # a document where nothing that reads it is installed
    "bad record",
    "duplicate record",
]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan takes.

    Sizes are in bytes. Source files above 1 MiB are hardly ever written by hand; data (JSON, CSV, logs)
    says little per byte, so its cap is lower; a notebook's bytes are mostly pictures that the extracted
    text leaves out, so its cap is higher, and that of PDF and docx all the more. ``exclude`` names files and
    folders that are passed over without being counted, such as the index itself (compared after resolving
    links).
    """

    max_bytes: int = 1 << 20
    max_data_bytes: int = 1 << 18
    max_notebook_bytes: int = 1 << 24
    max_document_bytes: int = 1 << 26
    secrets: bool = False
    generated: bool = False
    exclude: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file to read, or one record of a JSONL file.

    ``path`` is posix, relative to the root, and valid Unicode whatever the name's bytes are
    (`vecloom.paths.escape_name`); a record's is its ``_id``. ``size`` and ``mtime_ns`` are as
    listed, before anything is read. ``limit``: more bytes than these are not read. ``wanted``: named by the
    user or kept by a ``!`` rule, so that what looks generated is taken all the same. ``offset``: where a
    record starts in its file; None for whole files.
    """

    path: str
    absolute: Path
    size: int
    mtime_ns: int
    limit: int
    wanted: bool = False
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that is not indexed, and why. A folder's ``path`` ends with a slash."""

    path: str
    reason: Reason
    detail: str = ""
