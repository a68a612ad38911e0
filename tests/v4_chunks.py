"""Chunk files as V4's chunker wrote them, and a small folder of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CODE = "def retry(times):\n    for turn in range(times):\n        open_connection(turn)\n"
TEXTS = (
    "Where retries are configured: the connection is opened again.",
    CODE,
    "The loom weaves many threads into one cloth.",
    "How to open a TCP connection in python",
)


def chunk(text: str, **metadata: Any) -> dict[str, Any]:
    """A chunk of V4's."""
    return {"text": text, "metadata": {"token_count": len(text.split()), **metadata}}


def write_chunks(folder: Path, name: str, chunks: list[Any]) -> Path:
    """A file of chunks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(chunks), "utf-8")
    return path


def make_chunked(folder: Path) -> Path:
    """Two collections below ``folder``."""
    docs = [chunk(text, source_path=f"guide/{number}.md") for number, text in enumerate(TEXTS[:2])]
    write_chunks(folder / "Docling", "guide_chunks.json", docs)
    more = [chunk(text, source_path="loom.md", section_path=["Loom", "Weave"]) for text in TEXTS[2:]]
    write_chunks(folder / "my docs" / "deep", "loom_chunks.json", more)
    return folder
