"""PDF files to pages of text, by pypdf; see `vecloom.sources.documents.extract`."""

from __future__ import annotations

from io import BytesIO

from vecloom.sources.extraction import (
    Extracted,
    Limits,
    UnreadableError,
    describe_missing_extra,
    one_line,
    too_much_text,
)


def read_pdf(data: bytes, limits: Limits) -> Extracted:
    """The pages that hold text, labelled "page 1" and so on; all pages count.

    A page that cannot be read is lost, and the others are not. A file that needs no password to be opened
    is read though it is encrypted.

    Raises:
        UnreadableError: it needs a password or a package, holds no text or too much, or no page can be read.
        Exception: anything that pypdf raises on a damaged file.
    """
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import DependencyError

    try:
        reader = PdfReader(BytesIO(data))
        locked = reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED
    except DependencyError as error:  # AES takes a package more
        raise UnreadableError("missing extra", describe_missing_extra()) from error
    if locked:
        raise UnreadableError("encrypted", "it needs a password")
    sections: list[tuple[str, str]] = []
    lost: list[str] = []
    room = limits.text
    for number, page in enumerate(reader.pages, 1):
        try:
            text = page.extract_text()
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (pypdf raises anything on damaged pages)
            lost.append(f"page {number}: {one_line(error)}")
            continue
        room -= len(text)
        if room < 0:
            raise too_much_text(limits)
        if text.strip():
            sections.append((f"page {number}", text))
    if not sections:
        if lost:
            raise UnreadableError("broken document", f"no page can be read; {lost[0]}")
        found = f"none of its pages ({len(reader.pages):,}) holds text; scanned pages need OCR first"
        raise UnreadableError("no text", found)
    return Extracted(tuple(sections), tuple(lost))
