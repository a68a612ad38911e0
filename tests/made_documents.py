"""PDF and docx files made by the tests themselves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import docx
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfReader, PdfWriter

_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
_XML = "application/vnd.openxmlformats-officedocument.wordprocessingml."


def lines(*texts: str) -> bytes:
    """The content stream of a page with these lines."""
    shown = b" T* ".join(b"(%s) Tj" % _escaped(text) for text in texts)
    return b"BT /F1 12 Tf 14 TL 72 720 Td " + shown + b" ET"


def _escaped(text: str) -> bytes:
    return text.encode("latin-1").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def pdf(*pages: bytes, filters: Sequence[bytes] = ()) -> bytes:
    """A PDF of pages with these content streams; ``filters``: what the stream of each claims to need."""
    streams = list(dict.fromkeys(pages))  # pages with equal streams share one
    first_page = 4 + len(streams)
    kids = b" ".join(b"%d 0 R" % (first_page + number) for number in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, stream in enumerate(streams):
        needs = b" /Filter /%s" % filters[number] if number < len(filters) and filters[number] else b""
        bodies.append(b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(stream), needs, stream))
    bodies += [
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
        b" /Resources << /Font << /F1 3 0 R >> >> >>" % (4 + streams.index(page))
        for page in pages
    ]
    made = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(bodies, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(bodies) + 1
    return made + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(made))
    )


def slow_pdf(pages: int) -> bytes:
    """A small PDF that takes some tenths of a second a page."""
    return pdf(*[lines(*["the shed opens and the shuttle flies"] * 5_000)] * pages)


def encrypted(data: bytes, password: str, algorithm: str) -> bytes:
    """A PDF that ``password`` opens; where it is empty, anybody may read and only the owner change it."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, "owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word(fill: Callable[[Any], object]) -> bytes:
    """The docx that ``fill`` makes of an empty document of python-docx."""
    document = docx.Document()
    fill(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def element(xml: str) -> Any:
    """An element of WordprocessingML; ``w:`` is declared."""
    head, _, rest = xml.partition(">")
    slash = "/" if head.endswith("/") else ""
    return parse_xml(f"{head.removesuffix('/')} {nsdecls('w')}{slash}>{rest}")


def add_notes(document: Any, kind: str, notes: dict[str, str]) -> None:
    """Give a document the part that holds its footnotes or endnotes (``kind``: "footnote", "endnote")."""
    said = "".join(
        f'<w:{kind} w:id="{name}"><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:{kind}>'
        for name, text in notes.items()
    )
    blob = f"<w:{kind}s {nsdecls('w')}>{said}</w:{kind}s>".encode()
    uri = PackURI(f"/word/{kind}s.xml")
    part = Part(uri, f"{_XML}{kind}s+xml", blob, document.part.package)
    document.part.relate_to(part, f"{_RELATED}{kind}s")


def repacked(data: bytes, member: str, content: bytes) -> bytes:
    """A docx with another content for one of its members."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, content if name == member else old.read(name))
    return out.getvalue()
