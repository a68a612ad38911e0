"""Measured tables as Markdown, between the markers ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: column heads, rows of as many cells, and notes below it."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table and its notes; columns but the first are set to the right."""
        lines = [_line(self.heads), "|---|" + "---:|" * (len(self.heads) - 1), *map(_line, self.rows)]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write_section(name: str, text: str, path: Path = DOCS) -> None:
    """Put ``text`` between the markers of ``name``, in place of what stands there.

    Raises:
        ValueError: the file has no such markers, or they are out of order.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found, rest = path.read_text("utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(
            f"{path} has no section {begin} ... {end}; add the two lines where the table belongs"
        )
    path.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", "utf-8")


def machine(packages: Sequence[str] = ()) -> str:
    """The machine and the versions that were measured, in one paragraph."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    return f"{_processor()}, {_memory()}, {platform.system()} {platform.machine()}; {', '.join(versions)}."


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor's name, how many cores, and those of its features that decide how fast models run."""
    import os

    cores = f"{os.cpu_count()} cores"
    try:
        said = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return f"{platform.processor() or platform.machine()}, {cores}"
    pairs = (line.partition(":") for line in reversed(said.splitlines()))
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    flags = set(facts.get("flags", "").split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{facts.get('model name', platform.machine())}, {cores} ({', '.join(known) or 'no AVX2'})"


def _memory() -> str:
    import os

    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
