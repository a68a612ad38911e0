"""Docx files to Markdown, by python-docx. Runs in `vecloom.sources.documents.extract`.

The library opens the package and parses its XML; the elements are walked here, because its own paragraphs
leave out inserted text and content controls. Headers, footers and comments are left out.

Format: ECMA-376-1, 17 (WordprocessingML).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from vecloom.sources.extraction import Extracted, Limits, UnreadableError, too_much_text

if TYPE_CHECKING:
    from docx.document import Document as Package

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"

_TEXT = frozenset({_W + "t", "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"})
_CHARACTERS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}
_NOTES = {_W + "footnoteReference": "footnote", _W + "endnoteReference": "endnote"}
# Deleted and moved text; the second form of a drawing; phonetic readings; properties.
_LEFT_OUT = frozenset(
    {_W + name for name in ("del", "moveFrom", "rt", "pPr", "rPr")}
    | {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}
)
_WRAPPERS = frozenset({_W + name for name in ("ins", "moveTo", "sdt", "sdtContent", "customXml")})

# What Markdown would take for a heading or a fence.
_MARKUP = re.compile(r"^ {0,3}(?=#{1,6}(?:\s|$)|```|~~~)", re.MULTILINE)

#: Encrypted docx files, and .doc files, are of another format: compound files, which begin so.
_COMPOUND = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")

_MAX_BASES = 16


def read_docx(data: bytes, limits: Limits) -> Extracted:
    """The body as Markdown: headings, paragraphs, lists, tables, each footnote behind what refers to it.

    Raises:
        UnreadableError: encrypted, without text, or too large once it is unpacked.
        Exception: anything that zipfile, lxml and python-docx raise on a damaged file.
    """
    if data.startswith(_COMPOUND):
        if _ENCRYPTED in data:
            raise UnreadableError("encrypted", "it needs a password")
        raise UnreadableError("broken document", "a file of the older format .doc")
    with ZipFile(BytesIO(data)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > limits.unpacked:
        raise UnreadableError("too large", f"unpacks to {unpacked:,} bytes; the cap is {limits.unpacked:,}")
    import docx

    text = _joined(_Body(docx.Document(BytesIO(data))).blocks(), limits)
    if not text:
        raise UnreadableError("empty", "no paragraph holds text")
    return Extracted((("", text),))


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph, heading or table; list items that follow each other are no paragraphs of their own."""

    text: str
    item: bool = False


@dataclass(frozen=True, slots=True)
class _Style:
    """What a style makes of a paragraph: a heading of a level (0 the title), an item of a list and level."""

    heading: int | None = None
    list: tuple[str, int] | None = None


def _joined(blocks: Iterable[_Block], limits: Limits) -> str:
    parts: list[str] = []
    room = limits.text
    previous: _Block | None = None
    for block in blocks:
        if previous is not None:
            parts.append("\n" if previous.item and block.item else "\n\n")
        parts.append(block.text)
        room -= len(block.text)
        if room < 0:
            raise too_much_text(limits)
        previous = block
    return "".join(parts)


class _Body:
    """One reading of a document's body."""

    def __init__(self, package: Package) -> None:
        part = package.part
        self._root = package.element.body
        self._styles = _styles(package.styles.element)
        self._numbered = _numbered(_related(part, "numbering"))
        self._notes = {kind: _by_id(_related(part, kind + "s"), kind) for kind in _NOTES.values()}
        self._cited: dict[tuple[str, str], int] = {}
        self._counts: Counter[tuple[str, int]] = Counter()
        self._below_title = 0

    def blocks(self) -> Iterator[_Block]:
        """The body's blocks in order, none of them empty."""
        said = 0
        for block in self._blocks(self._root):
            yield block
            cited = list(self._cited.items())[said:]
            said += len(cited)
            for (kind, name), number in cited:
                note = self._notes[kind].get(name)
                if note is not None:
                    yield _Block(f"[^{number}]: {self._line(note)}")

    def _blocks(self, parent: Any) -> Iterator[_Block]:
        for child in parent.iterchildren("*"):
            if child.tag == _W + "p":
                yield from self._paragraph(child)
            elif child.tag == _W + "tbl":
                yield from self._table(child)
            elif child.tag not in _LEFT_OUT:
                yield from self._blocks(child)

    def _paragraph(self, element: Any) -> Iterator[_Block]:
        style = self._style(element.find(_W + "pPr"))
        text = "".join(self._inline(element)).rstrip()
        if not text.strip():
            return
        if style.heading is not None:
            if style.heading == 0:
                self._below_title = 1
            yield _Block(f"{'#' * min(style.heading + self._below_title, 6)} {' '.join(text.split())}")
        elif style.list:
            yield _Block(self._item(*style.list, text), item=True)
        else:
            yield _Block(_MARKUP.sub(r"\g<0>\\", text.lstrip("\n")))

    def _style(self, properties: Any) -> _Style:
        """What a paragraph is, by its own properties or else by its style."""
        if properties is None:
            return _Style()
        own = _style_of(properties)
        named = self._styles.get(_value(properties, "pStyle") or "", _Style())
        return _Style(
            named.heading if own.heading is None else own.heading,
            named.list if properties.find(_W + "numPr") is None else own.list,
        )

    def _item(self, name: str, level: int, text: str) -> str:
        mark = "-"
        if (name, level) in self._numbered:
            self._counts[name, level] += 1
            for deeper in [key for key in self._counts if key[0] == name and key[1] > level]:
                del self._counts[deeper]
            mark = f"{self._counts[name, level]}."
        indent = "  " * level
        return f"{indent}{mark} {text.strip()}".replace("\n", f"\n{indent}  ")

    def _table(self, element: Any) -> Iterator[_Block]:
        """Rows between bars, the first one as their head; a table of one column is a frame around text."""
        rows = [list(_within(row, "tc")) for row in _within(element, "tr")]
        if max(map(len, rows), default=0) < 2:
            for cell in (cell for row in rows for cell in row):
                yield from self._blocks(cell)
            return
        lines = []
        for row in rows:
            cells = [self._line(cell).replace("|", r"\|") for cell in row]
            if any(cells):
                lines.append(f"| {' | '.join(cells)} |")
                if len(lines) == 1:
                    lines.append(f"|{' --- |' * len(cells)}")
        if lines:
            yield _Block("\n".join(lines))

    def _line(self, element: Any) -> str:
        return " ".join("".join(self._inline(element)).split())

    def _inline(self, element: Any) -> Iterator[str]:
        for child in element.iterchildren("*"):
            tag = child.tag
            if tag in _TEXT:
                yield child.text or ""
            elif tag in _CHARACTERS:
                yield _CHARACTERS[tag]
            elif tag in _NOTES:
                cited = (_NOTES[tag], child.get(_W + "id", ""))
                yield f"[^{self._cited.setdefault(cited, len(self._cited) + 1)}]"
            elif tag == _W + "p":  # of a text box, a cell or a note
                yield "\n"
                yield from self._inline(child)
                yield "\n"
            elif tag not in _LEFT_OUT:
                yield from self._inline(child)


def _related(part: Any, kind: str) -> Any:
    """The root of the part that a package's main part calls its ``kind``, or None."""
    from docx.oxml import parse_xml

    for relation in part.rels.values():
        if relation.reltype == _RELATED + kind and not relation.is_external:
            return parse_xml(relation.target_part.blob)
    return None


def _by_id(notes: Any, kind: str) -> dict[str, Any]:
    """The notes of one kind by their ids."""
    if notes is None:
        return {}
    return {note.get(_W + "id", ""): note for note in notes.iterchildren(_W + kind)}


def _numbered(numbering: Any) -> frozenset[tuple[str, int]]:
    """The lists and levels whose items are numbered, not marked."""
    if numbering is None:
        return frozenset()
    formats = {
        (abstract.get(_W + "abstractNumId"), level.get(_W + "ilvl")): _value(level, "numFmt")
        for abstract in numbering.iterchildren(_W + "abstractNum")
        for level in abstract.iterchildren(_W + "lvl")
    }
    return frozenset(
        (number.get(_W + "numId", ""), level)
        for number in numbering.iterchildren(_W + "num")
        for level in range(9)
        if formats.get((_value(number, "abstractNumId"), str(level)), "bullet") not in ("bullet", "none")
    )


def _styles(styles: Any) -> dict[str, _Style]:
    """Styles by their ids, with what they inherit."""
    own = {style.get(_W + "styleId", ""): style for style in styles.iterchildren(_W + "style")}
    found: dict[str, _Style] = {}
    for name, style in own.items():
        heading: int | None = None
        items: tuple[str, int] | None = None
        base, bases = style, 0
        while base is not None and bases < _MAX_BASES:
            said = _style_of(base.find(_W + "pPr"), (_value(base, "name") or "").lower())
            heading = said.heading if heading is None else heading
            items = items or said.list
            base, bases = own.get(_value(base, "basedOn") or ""), bases + 1
        found[name] = _Style(heading, items)
    return found


def _style_of(properties: Any, name: str = "") -> _Style:
    """What the properties of a paragraph or style say, and a style's name, which is always English."""
    heading: int | None = None
    if name == "title":
        heading = 0
    elif match := re.fullmatch(r"heading ([1-9])", name):
        heading = int(match[1])
    if properties is None:
        return _Style(heading)
    outline = _value(properties, "outlineLvl") or ""
    if heading is None and re.fullmatch("[0-8]", outline):
        heading = int(outline) + 1
    numbering = properties.find(_W + "numPr")
    listed = None if numbering is None else _value(numbering, "numId")
    level = "0" if numbering is None else _value(numbering, "ilvl") or "0"
    if listed in (None, "0") or not re.fullmatch("[0-8]", level):
        return _Style(heading)
    return _Style(heading, (listed, int(level)))


def _value(element: Any, name: str) -> str | None:
    """The value of an element's property ``name``, or None."""
    found = element.find(_W + name)
    return None if found is None else found.get(_W + "val")


def _within(element: Any, name: str) -> Iterator[Any]:
    """The rows of a table or the cells of a row, those inside of content controls too."""
    for child in element.iterchildren("*"):
        if child.tag == _W + name:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _within(child, name)
