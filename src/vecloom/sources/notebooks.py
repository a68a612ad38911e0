"""The text of Jupyter notebooks, formats 3 and 4: sources of the cells, without outputs.

Format: https://nbformat.readthedocs.io/en/latest/format_description.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecloom.sources.languages import named_language
from vecloom.sources.parts import Piece, tile
from vecloom.sources.text import valid
from vecloom.types import Part

# Cell magics that switch the language of the whole cell, where a language is not called like the magic.
_MAGICS = {"sh": "bash", "script": "bash", "svg": "xml", "writefile": ""}


class BrokenNotebookError(ValueError):
    """The bytes are no notebook; the message says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """The extracted text; ``parts`` tile it, each with the blank line that follows its cell.

    Labels count all cells of the notebook from 1, as its reader does, empty and raw ones included.
    """

    text: str
    parts: tuple[Part, ...]
    language: str | None


def parse_notebook(data: bytes) -> Notebook:
    """Extract the sources of markdown and code cells.

    Raises:
        BrokenNotebookError: not JSON, or not a notebook.
    """
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenNotebookError(f"not JSON: {error}") from error
    if not isinstance(notebook, dict):
        raise BrokenNotebookError("not a JSON object")
    language = _kernel_language(notebook)
    read = [_cell(number, raw, language) for number, raw in enumerate(_raw_cells(notebook), 1)]
    text, parts = tile([cell for cell in read if cell and cell.text.strip()])
    return Notebook(text, parts, language)


def _raw_cells(notebook: Mapping[str, Any]) -> Sequence[Any]:
    if isinstance(cells := notebook.get("cells"), list):
        return cells
    sheets = notebook.get("worksheets")
    if not isinstance(sheets, list):
        raise BrokenNotebookError("it has no list of cells")
    found: list[Any] = []
    for sheet in sheets:
        if not isinstance(sheet, dict) or not isinstance(sheet.get("cells"), list):
            raise BrokenNotebookError("a worksheet has no list of cells")
        found += sheet["cells"]
    return found


def _cell(number: int, cell: Any, kernel: str | None) -> Piece | None:
    """One cell, or None where it is of a type that is left out."""
    if not isinstance(cell, dict):
        raise BrokenNotebookError(f"cell {number} is no object")
    label, kind = f"cell {number}", cell.get("cell_type")
    source = _source(number, cell.get("source", cell.get("input", "")))
    if kind == "code":
        own = cell.get("language")
        named = _name(own) if isinstance(own, str) else kernel
        return Piece(label, source, "code", _magic(source) or named)
    if kind == "markdown":
        return Piece(label, source, "prose", "markdown")
    if kind == "heading":
        level = cell.get("level")
        marks = "#" * (level if isinstance(level, int) and 0 < level < 7 else 1)
        return Piece(label, f"{marks} {source}", "prose", "markdown")
    return None


def _source(number: int, source: Any) -> str:
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise BrokenNotebookError(f"the source of cell {number} is no text")
    return valid(source)


def _kernel_language(notebook: Mapping[str, Any]) -> str | None:
    """What the notebook's metadata say; Python, Jupyter's own kernel, where they say nothing."""
    metadata = notebook.get("metadata")
    if not isinstance(metadata, dict):
        return "python"
    for section, key in (("language_info", "name"), ("kernelspec", "language"), ("kernelspec", "name")):
        table = metadata.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            return _name(table[key])
    return "python"


def _name(name: str) -> str | None:
    language = named_language(name)
    return language.name if language else None


def _magic(source: str) -> str | None:
    if not source.startswith("%%"):
        return None
    word = source[2:].partition("\n")[0].partition(" ")[0].strip()
    return _name(_MAGICS.get(word, word))
