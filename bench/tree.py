"""A tree of code and docs made of what every machine with these packages has.

Code is the standard library of the running Python without its tests; docs are the long descriptions and the
Markdown and reST files of installed packages. The same versions give the same tree.
"""

from __future__ import annotations

import ast
import hashlib
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path

#: Share of the bytes that are docs, where the installed packages have so many.
DOCS_SHARE = 0.15

#: A file is taken if it has this many bytes.
SIZES = range(500, 250_000)

_TESTS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3", "encodings"})


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder of files: how many, their bytes, and a digest of paths and contents."""

    folder: Path
    code_files: int
    docs_files: int
    size: int
    digest: str


def make_tree(folder: Path, size: int) -> Tree:
    """Write files of ``size`` bytes in all (one file more or less) below ``folder``, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    docs = dict(_until(DOCS_SHARE * size, _docs()))
    code = dict(_until(size - sum(map(len, docs.values())), _code()))
    digest = hashlib.sha256()
    for path, data in sorted({**docs, **code}.items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digest.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    written = sum(map(len, [*docs.values(), *code.values()]))
    return Tree(folder, len(code), len(docs), written, digest.hexdigest()[:12])


def _until(size: float, files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Files in an order that their contents decide, each content once, until there are ``size`` bytes."""
    ordered = {hashlib.sha256(data).digest(): (path, data) for path, data in files}
    total = 0
    for _, (path, data) in sorted(ordered.items()):
        if total >= size:
            return
        total += len(data)
        yield path, data


def _code() -> Iterator[tuple[str, bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not _TESTS & set(relative.parts) and (data := _text(path.read_bytes())):
            yield f"lib/{relative.as_posix()}", data


def _docs() -> Iterator[tuple[str, bytes]]:
    for package in sorted(metadata.distributions(), key=lambda package: package.name.lower()):
        said = package.metadata.json
        suffix = "rst" if "rst" in str(said.get("description_content_type", "rst")) else "md"
        if data := _text(str(said.get("description", "")).encode()):
            yield f"docs/{package.name}/README.{suffix}", data
        for file in package.files or ():
            path = Path(str(package.locate_file(file)))
            wanted = path.suffix in (".md", ".rst") and not _TESTS & set(file.parts) and path.is_file()
            if wanted and ".." not in file.parts and (data := _text(path.read_bytes())):
                yield f"docs/{package.name}/{file.as_posix()}", data


def _text(data: bytes) -> bytes | None:
    """The bytes of a file worth taking: UTF-8, lines ended by \\n, of a middling size."""
    if len(data) not in SIZES or b"\r" in data or b"\0" in data:
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    return data


def questions(folder: Path, count: int) -> list[str]:
    """Questions that a tree answers: first lines of its docstrings, of 4 to 12 words each."""
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
                said := ast.get_docstring(node)
            ):
                line = said.splitlines()[0].strip()
                if 4 <= len(line.split()) <= 12:
                    found[line] = None
    ordered = sorted(found, key=lambda line: hashlib.sha256(line.encode()).digest())
    return list(islice(ordered, count))
