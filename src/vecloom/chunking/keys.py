"""YAML by its indentation: keys and list items, with the keys above them as path.

The bundled tree-sitter grammar is not used: nesting of some hundred levels crashes the interpreter.
"""

from __future__ import annotations

import re

from vecloom.chunking.outline import CROWDED, GLUE, INSIDE, Outline, Section
from vecloom.chunking.prose import Headings

_PER_LEVEL = 10
_DEEPEST = 90
_LINE = re.compile(
    r"(?P<indent>[ \t]*)(?P<dashes>(?:-[ \t]+)*)"
    r"(?:(?P<key>\"[^\"\n]{1,100}\"|'[^'\n]{1,100}'|[^\s#\-\"'\[\]{},&*!|>%@`:][^#\n:]{0,99}?)[ \t]*:(?=\s|$)"
    r"[ \t]*(?P<value>.*)|(?P<comment>\#)|(?P<item>-(?=\s|$))|(?P<document>---|\.\.\.))?"
)
_BLOCK_SCALAR = re.compile(r"(?:[&!]\S+\s+)*[|>][-+0-9]*\s*(?:#.*)?$")


def read_yaml(section: Section, outline: Outline) -> None:
    """Cuts before keys, list items and comments, the deeper the dearer; none within block scalars."""
    keys = Headings(section.path)
    indents: list[int] = []
    scalar = -1  # the indentation of the key whose block scalar is being read
    glued = False
    previous_blank = True
    for row, line in enumerate(section.lines, section.first):
        if line.isspace():
            previous_blank = True
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        if 0 <= scalar < indent:
            continue
        scalar = -1
        if match["document"]:
            keys, indents = Headings(section.path), []
            outline.mark(row, 0, section.path)
        elif match["key"] or match["item"] or match["dashes"] or match["comment"]:
            column = indent + len(match["dashes"])
            while indents and indents[-1] >= (column if match["key"] else indent + 1):
                indents.pop()
            cost = min(_PER_LEVEL * len(indents) + 5 * bool(match["dashes"]), _DEEPEST)
            cost += GLUE if glued else 0 if previous_blank else CROWDED
            if match["key"]:
                keys.enter(column, match["key"].strip("\"'"))
                indents.append(column)
                scalar = indent if _BLOCK_SCALAR.match(match["value"]) else -1
            outline.mark(row, min(cost, INSIDE), keys.path)
            glued = bool(match["comment"]) and not match["key"]
        previous_blank = False
