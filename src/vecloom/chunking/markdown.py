"""Markdown: headings, fences, tables, lists and paragraphs, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vecloom.chunking.outline import GLUE, INSIDE, Outline, Section
from vecloom.chunking.prose import Headings, indent_of

_BLOCK = 30
_LIST = 40
_PER_INDENT = 10
_PER_LEVEL = 4
_ANNOUNCED = 25
_LINE = re.compile(
    r"(?P<blank>\s*$)"
    r"|[ ]{0,3}(?P<fence>`{3,}(?!.*`)|~{3,})"
    r"|[ ]{0,3}(?P<atx>\#{1,6})(?:[ \t]+(?P<title>.*?))?(?:[ \t]+\#+)?[ \t]*$"
    r"|\s*(?P<item>[-*+]|\d{1,9}[.)])\s"
)
# Patterns that try again and again see no more of a line than this.
_SEEN = 500
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]{1,200}>|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|\{#[^}]*\}")


def heading_text(markup: str) -> str:
    """A heading as plain text: links by their label, emphasis, tags and anchors left out."""
    return " ".join(_INLINE.sub(lambda match: match[1] or "", markup[:_SEEN]).split())


def read_markdown(section: Section, outline: Outline, headings: Headings | None = None) -> None:
    """Cuts are cheapest before headings, then between blocks, dear within lists and behind a heading.

    Fences and front matter are one block each, a list too where it fits; what of a block does not fit a
    chunk is cut at lines. ``headings`` are those that are open already (a notebook's cells share them).
    """
    _Markdown(section, outline, headings or Headings(section.path)).read()


class _Markdown:
    """One reading of a section, line by line.

    ``tie`` is what a cut before the next block costs more, ``opened`` tells whether a line of text begins a
    block, ``in_list`` whether a list is open that did not fit as a whole.
    """

    def __init__(self, section: Section, outline: Outline, headings: Headings) -> None:
        self.section, self.lines, self.outline, self.headings = section, section.lines, outline, headings
        self.tie = 0
        self.opened = True
        self.in_list = False
        self.list_end = 0  # where the list ends that was looked at last: its items need not look again

    def read(self) -> None:
        index = _front_matter(self.lines)
        while index < len(self.lines):
            match = _LINE.match(self.lines[index], 0, _SEEN)
            if match is None:
                index = self._text(index)
            elif match["fence"]:
                self._mark(index, _BLOCK)
                index = _fence_end(self.lines, index, match["fence"])
            elif match["atx"]:
                self._heading(index, len(match["atx"]), match["title"] or "")
                index += 1
            elif match["item"]:
                index = self._item(index)
            else:
                self.opened = True
                index += 1

    def _mark(self, index: int, cost: int) -> None:
        row = self.section.first + index
        self.outline.mark(row, min(cost + self.tie, INSIDE), self.headings.path)
        self.tie, self.opened = 0, True

    def _heading(self, index: int, level: int, title: str) -> None:
        text = heading_text(title)
        self.headings.enter(level, text)
        self.outline.define(self.section.first + index, text)
        self.tie = 0
        self._mark(index, _PER_LEVEL * (level - 1))
        self.tie, self.in_list = GLUE, False

    def _text(self, index: int) -> int:
        line = self.lines[index]
        level = _underline(self.lines, index) if self.opened else 0
        if level:
            self._heading(index, level, line)
            return index + 2
        indent = indent_of(line)
        if self.opened:
            self._mark(index, _BLOCK + _PER_INDENT * min(indent // 2, 4))
            self.opened, self.in_list = False, self.in_list and indent > 0
        self.tie = _ANNOUNCED if line.rstrip().endswith(":") else 0
        return index + 1

    def _item(self, index: int) -> int:
        self._mark(index, _LIST + _PER_INDENT * min(indent_of(self.lines[index]) // 2, 4))
        if not self.in_list:
            if index >= self.list_end:
                self.list_end = _list_end(self.lines, index + 1)
            end = self.list_end
            first = self.section.first
            if self.section.fits(first + index, first + end - 1, self.headings.path):
                return end
        self.in_list, self.opened = True, False
        return index + 1


def _front_matter(lines: Sequence[str]) -> int:
    """The number of lines of YAML or TOML front matter that a text begins with."""
    if not lines or lines[0].strip() not in ("---", "+++"):
        return 0
    fence = lines[0].strip()
    for index in range(1, min(len(lines), 200)):
        if lines[index].strip() == fence:
            return index + 1
    return 0


def _fence_end(lines: Sequence[str], index: int, fence: str) -> int:
    """The line behind the one that closes a fence; an open fence runs to the end."""
    for end in range(index + 1, len(lines)):
        line = lines[end].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            return end + 1
    return len(lines)


def _list_end(lines: Sequence[str], index: int) -> int:
    """The line behind a list that began before ``index``: text behind a blank line, or another block."""
    after_blank = False
    for end in range(index, len(lines)):
        match = _LINE.match(lines[end], 0, _SEEN)
        kind = match.lastgroup if match else None
        if kind == "fence" or (match and match["atx"]):
            if not lines[end][0].isspace():
                return end
        elif after_blank and match is None and not lines[end][0].isspace():
            return end
        after_blank = kind == "blank"
    return len(lines)


def _underline(lines: Sequence[str], index: int) -> int:
    """1 or 2 where the next line makes this one a heading, else 0."""
    if index + 1 >= len(lines) or "|" in lines[index]:
        return 0
    match = _UNDERLINE.match(lines[index + 1].rstrip("\r\n"))
    return 0 if match is None else 1 if match[1][0] == "=" else 2
