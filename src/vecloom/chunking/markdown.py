"""Markdown: headings, fences, tables, lists and paragraphs, line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vecloom.chunking.outline import GLUE, INSIDE, Outline, Section
from vecloom.chunking.prose import Headings, indent_of

_BLOCK = 0.3
_LIST = 0.4
_PER_INDENT = 0.1
_PER_LEVEL = 0.04
_ANNOUNCED = 0.25
_LINE = re.compile(
    r"(?P<blank>\s*$)"
    r"|[ ]{0,3}(?P<fence>`{3,}(?!.*`)|~{3,})"
    r"|[ ]{0,3}(?P<atx>\#{1,6})(?:[ \t]+(?P<title>.*?))?(?:[ \t]+\#+)?[ \t]*$"
    r"|\s*(?P<item>[-*+]|\d{1,9}[.)])\s"
)
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]{1,200}>|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|\{#[^}]*\}")


def heading_text(markup: str) -> str:
    """A heading as plain text: links by their label, emphasis, tags and anchors left out."""
    return " ".join(_INLINE.sub(lambda match: match[1] or "", markup).split())


def read_markdown(section: Section, outline: Outline, headings: Headings | None = None) -> None:
    """Cuts are cheapest before headings, then between blocks, dear within lists and behind a heading.

    Fences and front matter are one block each; what of them does not fit a chunk is cut at lines.
    ``headings`` are those that are open already (a notebook's cells share them).
    """
    lines = section.lines
    headings = headings or Headings(section.path)
    index = _front_matter(lines)
    if index:
        outline.mark(section.first, 0.0, section.path)
    extra = 0.0  # what ties the next block to the one before it
    opened = True  # whether a line of text begins a block
    while index < len(lines):
        line, row = lines[index], section.first + index
        match = _LINE.match(line)
        kind = match.lastgroup if match else None
        if match and kind == "blank":
            opened = True
        elif match and kind == "fence":
            outline.mark(row, min(_BLOCK + extra, INSIDE), headings.path)
            index = _fence_end(lines, index, match["fence"])
            extra, opened = 0.0, True
            continue
        elif match and match["atx"]:
            headings.enter(len(match["atx"]), heading_text(match["title"] or ""))
            outline.mark(row, _PER_LEVEL * (len(match["atx"]) - 1), headings.path)
            extra, opened = GLUE, True
        elif opened and not match and (level := _underline(lines, index)):
            headings.enter(level, heading_text(line))
            outline.mark(row, _PER_LEVEL * (level - 1), headings.path)
            index += 1
            extra, opened = GLUE, True
        elif opened or match:
            cost = (_LIST if match else _BLOCK) + _PER_INDENT * min(indent_of(line) // 2, 4)
            outline.mark(row, min(cost + extra, INSIDE), headings.path)
            opened = False
            extra = 0.0
        if kind is None and line.rstrip().endswith(":"):
            extra = _ANNOUNCED
        index += 1


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


def _underline(lines: Sequence[str], index: int) -> int:
    """1 or 2 where the next line makes this one a heading, else 0."""
    if index + 1 >= len(lines) or "|" in lines[index]:
        return 0
    match = _UNDERLINE.match(lines[index + 1].rstrip("\r\n"))
    return 0 if match is None else 1 if match[1][0] == "=" else 2
