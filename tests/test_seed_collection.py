"""The seed's collection and its hybrid search, as docs/seed.md gives them: the code there is run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from vecloom import carry
from vecloom.registry import Registry
from vecloom.stores import client_terms
from vecloom.types import Schema

SEED = (
    "jina-code-embeddings-1.5b",
    "bge-m3",
    "nomic-coderank",
    "qdrant-minilm-onnx",
    "qdrant-bm25",
    "qdrant-minilm-attention",
)


def code() -> list[str]:
    """The blocks of code under the heading of the seed's collection."""
    page = (Path(__file__).parent.parent / "docs" / "seed.md").read_text("utf-8")
    section = page.partition("## The seed's collection")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_docs_make_the_collection_that_the_v5_profile_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    memory = QdrantClient(":memory:")
    monkeypatch.setattr(memory, "create_collection", made.update)
    monkeypatch.setattr(sys.modules["qdrant_client"], "QdrantClient", lambda **_: memory)
    exec(code()[0], {})
    memory.close()
    schema = Schema(tuple(spec.vector_field for spec in Registry().select(SEED)), "v5")
    assert made.pop("collection_name") == "docs_v5_multi"
    assert made == client_terms.settings_of(schema)


def test_the_seeds_hybrid_search_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "retries.md").write_text("# Retries\n\nRetries are configured in the settings file.\n", "utf-8")
    (tree / "looms.md").write_text("# Looms\n\nThe shuttle flies to and fro.\n", "utf-8")
    carry.embed(tmp_path / "pack", tree, models=("qdrant-minilm-onnx", "qdrant-bm25"))
    carry.export(tmp_path / "pack", "jsonl", tmp_path / "points.jsonl")
    from qdrant_client import models

    memory = QdrantClient(":memory:")
    create, query = code()
    said: dict[str, Any] = {}
    monkeypatch.setattr(sys.modules["qdrant_client"], "QdrantClient", lambda **_: memory)
    exec(create, said)
    lines = (tmp_path / "points.jsonl").read_text("utf-8").splitlines()
    memory.upsert("docs_v5_multi", [models.PointStruct.model_validate_json(line) for line in lines])
    exec(query, said)
    memory.close()
    first = capsys.readouterr().out.splitlines()[0]
    assert "retries.md" in first
