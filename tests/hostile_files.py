"""Files that are made to harm who reads them: some 50 kinds for every language with a suffix of its own.

``python tests/hostile_files.py FOLDER`` writes all of them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from vecloom.sources.languages import _TABLE

Maker: TypeAlias = Callable[[random.Random], bytes]

#: Tokens that many grammars give a meaning.
_TOKENS = """
if else for while do end begin class struct fn def function let var const import module match case when try
catch return yield async await type enum union trait impl interface namespace template package test
{ } ( ) [ ] < > <% %> {% %} {{ }} ; , . : :: -> => = == != + - * / % & | ^ ~ ! ? @ # $ \\ ` ' " ''' \"\"\"
/* */ // -- <!-- --> <script> </script> #[ ]] [[ <<EOF EOF %w[ ?" ~> |> 0x 1e9 @@ $$ \\u{ \\x
é 字 \U0001f600 a b foo Bar BAZ_1 a.b.c xs::y
"""
_SOUP = [*_TOKENS.split(), "\n", "\n", "\n\t", "\n    ", "\n\n", "\r\n"]

_OPENERS = (
    "(",
    "[",
    "{",
    "<",
    "if x {",
    "class A { ",
    "a(",
    "!(",
    "- ",
    "> ",
    "<div>",
    "{% if a %}",
    "begin\n",
    "'",
    "`",
    "\\",
)
_UNFINISHED = (
    '"',
    "'",
    '"""',
    "/*",
    "<!--",
    "#|",
    "{-",
    "(*",
    "=begin\n",
    "<<EOF\n",
    'r#"',
    "%w[",
    "[[",
    "```\n",
    "`",
    '@"',
    "$(",
)


def _nested(opener: str, times: int) -> Maker:
    return lambda _rng: opener.encode() * times + b"\nx = 1\n"


def _stairs(opener: str, closer: str, times: int) -> Maker:
    """Each level on a line of its own, deeper and deeper."""
    return lambda _rng: (
        "".join(f"{' ' * k}{opener}\n" for k in range(times)) + "".join(f"{closer}\n" for _ in range(times))
    ).encode()


def _unfinished(opener: str) -> Maker:
    return lambda rng: (
        b"a = 1\n" + opener.encode() + b" and never closed\n".join([b"text"] * rng.randrange(2, 3000))
    )


def _soup(size: int) -> Maker:
    return lambda rng: " ".join(rng.choices(_SOUP, k=size)).encode()


def _long_line(unit: str, size: int) -> Maker:
    return lambda _rng: (unit * (size // len(unit))).encode()[:size]


def _random_bytes(size: int, alphabet: bytes | None = None) -> Maker:
    return lambda rng: bytes(rng.choices(alphabet, k=size)) if alphabet else rng.randbytes(size)


def _cut_text(rng: random.Random) -> bytes:
    """Two thirds of plausible code, cut anywhere, also within a character."""
    lines = [
        "/** Doc comment über alles. */",
        "public class Größe { private int x = 1; // 数 \U0001f680",
        "def grow(self, amount: int = 3) -> None:",
        '    return f"{self.x} and {amount!r}"',
        "func (r *Reader) Read(p []byte) (n int, err error) {",
        "<div class='a' id=\"b\">{{ text | upper }}</div>",
        "key: [1, 2, {nested: true}]",
        "CREATE TABLE t (id INT PRIMARY KEY, name TEXT);",
        "# Heading",
        "- item",
        "  - deeper",
    ]
    data = "\n".join(rng.choices(lines, k=400)).encode()
    return data[: rng.randrange(len(data) // 2, len(data))]


def _makers() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for number, opener in enumerate(_OPENERS):
        made[f"nested-{number}"] = _nested(opener, 12_000)
    for number, (opener, closer) in enumerate(
        (("{", "}"), ("(", ")"), ("[", "]"), ("begin", "end"), ("<a>", "</a>"), ("if 1", "end"))
    ):
        made[f"stairs-{number}"] = _stairs(opener, closer, 350)
    for number, opener in enumerate(_UNFINISHED):
        made[f"unfinished-{number}"] = _unfinished(opener)
    for number in range(4):
        made[f"soup-{number}"] = _soup(8000)
    made["long-line-letters"] = _long_line("a", 900_000)
    made["long-line-words"] = _long_line("let x = (1, 'two'); ", 900_000)
    made["long-line-cjk"] = _long_line("的一是在不了", 240_000)
    made["short-lines"] = _long_line("{\n\n}\n;\n", 200_000)
    made["random-bytes"] = _random_bytes(20_000)
    made["random-ascii"] = _random_bytes(20_000, bytes(range(32, 127)) + b"\n\n\n")
    made["random-high"] = _random_bytes(20_000, bytes(range(128, 256)) + b"\n")
    made["cut-0"] = made["cut-1"] = _cut_text
    made["marks"] = _long_line("\u0301\u200d\ufeff\u202e", 50_000)
    return made


MAKERS = _makers()


def suffixes() -> list[str]:
    """The first suffix of every language."""
    rows = (line.split() for line in _TABLE.splitlines() if line and not line.startswith(" "))
    return [next((word for word in row[2:] if word.startswith(".")), "." + row[0]) for row in rows]


def write_hostile_files(folder: Path, share: float = 1.0, seed: int = 20261128) -> int:
    """Write the files, or a drawn ``share`` of them; returns how many."""
    rng = random.Random(seed)
    count = 0
    for name, data in _files(rng, share):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        count += 1
    return count


def _files(rng: random.Random, share: float) -> Iterator[tuple[str, bytes]]:
    for suffix in suffixes():
        for kind, make in MAKERS.items():
            if share >= 1 or rng.random() < share:
                yield f"{suffix.strip('.')}/{kind}{suffix}", make(rng)


if __name__ == "__main__":
    sys.stdout.write(f"{write_hostile_files(Path(sys.argv[1]))} files\n")
