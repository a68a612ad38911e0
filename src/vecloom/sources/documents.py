"""Bytes to documents."""

from __future__ import annotations

import hashlib

from vecloom.sources.entries import File, ScanOptions, Skip
from vecloom.sources.extraction import (
    Extracted,
    Limits,
    UnreadableError,
    describe_missing_extra,
    document_suffix,
    one_line,
)
from vecloom.sources.languages import language_of
from vecloom.sources.notebooks import BrokenNotebookError, parse_notebook
from vecloom.sources.parts import Piece, tile
from vecloom.sources.records import BadRecordError, parse_record
from vecloom.sources.text import decode_bytes, extracted
from vecloom.sources.unwanted import armoured, generated_mark
from vecloom.types import Document

_DEFAULT = ScanOptions()
_LIMITS = Limits()


def digest(data: bytes) -> str:
    """The sha256 of a file's bytes, in hex: what `Document.hash` holds."""
    return hashlib.sha256(data).hexdigest()


def decode(
    source: str,
    file: File,
    data: bytes,
    options: ScanOptions = _DEFAULT,
    limits: Limits = _LIMITS,
) -> Document | Skip:
    """The document in ``data``, the bytes of ``file``, or why it is not indexed.

    `Document.encoding` tells what was not plain UTF-8, so that it can be counted; `lost_parts` what could
    not be read. Runs in the reader process (`vecloom.pipeline.reading`): the bytes may be hostile.

    Raises:
        MemoryError: a PDF or docx takes more than there is.
    """
    if file.offset is not None:
        return _record(source, file, data)
    name, generated = file.absolute.name, file.wanted or options.generated
    if name.lower().endswith(".ipynb"):
        return _notebook(source, file, data)
    if suffix := document_suffix(name):
        return _extracted(source, file, data, suffix, limits)
    found = armoured(name, data)
    if found and not (options.secrets if found[0] == "secret" else generated):
        return Skip(file.path, *found)
    decoded = decode_bytes(data)
    if isinstance(decoded, tuple):
        return Skip(file.path, *decoded)
    text = decoded.text
    if not text.strip():
        return Skip(file.path, "empty", "blanks only")
    language = language_of(name, text)
    if language.kind != "prose" and not generated and (mark := generated_mark(text, language.name)):
        return Skip(file.path, "generated", mark)
    return Document(
        source, file.path, text, language.kind, language.name, digest(data), encoding=decoded.encoding
    )


def _notebook(source: str, file: File, data: bytes) -> Document | Skip:
    try:
        notebook = parse_notebook(data)
    except BrokenNotebookError as error:
        return Skip(file.path, "broken notebook", str(error))
    if not notebook.text:
        return Skip(file.path, "empty", "no cell holds text")
    return Document(
        source,
        file.path,
        notebook.text,
        "notebook",
        notebook.language,
        digest(data),
        parts=notebook.parts,
    )


def extract(suffix: str, data: bytes, limits: Limits) -> Extracted:
    """The text of ``data``, a file of the format that ``suffix`` (".pdf", ".docx") names.

    Raises:
        UnreadableError: the file gives no text, or its parser is not installed.
        MemoryError: there is no memory for it.
    """
    from vecloom.sources.pdf import read_pdf
    from vecloom.sources.word import read_docx

    try:
        return read_pdf(data, limits) if suffix == ".pdf" else read_docx(data, limits)
    except (UnreadableError, MemoryError):
        raise
    except ImportError as error:
        raise UnreadableError("missing extra", describe_missing_extra()) from error
    except Exception as error:  # a parser of damaged files raises anything
        raise UnreadableError("broken document", one_line(error)) from error


def _extracted(source: str, file: File, data: bytes, suffix: str, limits: Limits) -> Document | Skip:
    """A PDF, whose parts are its pages, or a docx, which is Markdown with headings of its own."""
    try:
        found = extract(suffix, data, limits)
    except UnreadableError as error:
        return Skip(file.path, error.reason, str(error))
    language = "text" if suffix == ".pdf" else "markdown"
    text, parts = tile([Piece(label, extracted(text), "prose", language) for label, text in found.sections])
    return Document(
        source,
        file.path,
        text,
        "prose",
        language,
        digest(data),
        parts=parts if suffix == ".pdf" else (),
        lost=found.lost,
    )


def lost_parts(document: Document) -> list[Skip]:
    """What of a document could not be read though the rest could."""
    return [Skip(document.path, "broken page", lost) for lost in document.lost]


def _record(source: str, file: File, data: bytes) -> Document | Skip:
    try:
        record = parse_record(data)
    except BadRecordError as error:
        return Skip(file.path, "bad record", f"changed since it was listed: {error}")
    if record.id != file.path:
        return Skip(file.path, "bad record", f"changed since it was listed: now {record.id!r}")
    return Document(
        source,
        file.path,
        record.text,
        "prose",
        "text",
        digest(data),
        title=record.title,
        path_in_header=False,
    )
