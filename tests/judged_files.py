"""A made tree and judged queries over it, in the formats that ``vecloom eval`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TREE = {
    "src/loom.py": "class Loom:\n    def weave(self, thread):\n        return thread\n\n\n"
    "def unravel(cloth):\n    return cloth\n",
    "src/retry.py": "def connect():\n    for attempt in range(3):\n        retry(attempt)\n",
    "docs/guide.md": "# Guide\n\nHow threads are dyed red.\n\n## Retries\n\nRetry the connection twice.\n",
    "docs/colours.md": "# Colours\n\nIndigo, madder and weld are plants that dye wool.\n",
    "settings.toml": '[loom]\nthread = "red"\nspeed = 12\n',
}

QUERIES: list[dict[str, Any]] = [
    {
        "query": "weave a thread",
        "category": "symbol",
        "targets": [{"path": "src/loom.py", "start": 1, "end": 3}],
    },
    {"query": "retry the connection", "category": "idea", "targets": ["docs/guide.md", "src/retry.py"]},
    {"query": "plants that dye wool", "category": "idea", "targets": [{"path": "docs/colours.md"}]},
]


def make_tree(root: Path, files: Mapping[str, str] = TREE) -> Path:
    """Write files below ``root``."""
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return root


def write_queries(path: Path, queries: object = QUERIES) -> Path:
    """Write judged queries as JSON."""
    path.write_text(json.dumps(queries, indent=1), "utf-8")
    return path


def write_beir(
    folder: Path, texts: Mapping[str, str], splits: Mapping[str, str], corpus: Mapping[str, str] | None = None
) -> Path:
    """Write a BEIR folder: query id -> text, split -> the lines of its .tsv."""
    (folder / "qrels").mkdir(parents=True)
    lines = (json.dumps({"_id": key, "text": text}) for key, text in texts.items())
    (folder / "queries.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    for name, body in splits.items():
        (folder / "qrels" / f"{name}.tsv").write_text(body, "utf-8")
    records = (json.dumps({"_id": key, "title": "", "text": text}) for key, text in (corpus or {}).items())
    (folder / "corpus.jsonl").write_text("".join(f"{line}\n" for line in records), "utf-8")
    return folder
