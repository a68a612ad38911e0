"""FastEmbed as the measure of ours, and texts that tell the two apart if anything does."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench.peers.models import export_bert

from vecloom.encoders.stopwords import stopwords
from vecloom.types import SparseRows

_CODE = (
    "def", "return", "self", "the", "is", "opening", "opened", "connection", "HTTPServer", "snake_case_name",
    "_", "__init__", "x1", "don't", "you're", "3.14", "naïve", "ΑΣ", "ΑΣ'Α", "İstanbul", "ﬁne", "ǅ", "日本語",
    "١٢٣", "²", "½", "e\u0301", "Ⅷ", "ª", "\u200b", "\x1f", "\x85", "\u2028", "‿", "＿", "a" * 40, "a" * 41,
    "ß" * 41,
)  # fmt: skip
_GAPS = (" ", "\n", "\t", ".", "(", ", ", "-", "::", "\u3000", "'", "\x00", "\udc80", "·", "")


@cache
def colliding_words() -> tuple[str, str]:
    """Two stems with one id, found by a birthday search."""
    import mmh3
    from py_rust_stemmers import SnowballStemmer

    stem = SnowballStemmer("english").stem_word
    seen: dict[int, str] = {}
    for number in range(1_000_000):
        word = f"w{number}"
        other = seen.setdefault(abs(mmh3.hash(word)), word)
        if other != word:
            assert stem(word) == word
            assert stem(other) == other
            return other, word
    raise AssertionError("no collision among a million words")


def odd_texts(count: int, seed: int) -> list[str]:
    """Code, prose and odd Unicode, with words whose ids collide in every order."""
    draw = random.Random(seed)
    words = (*_CODE, *colliding_words(), *colliding_words())
    texts = []
    for _ in range(count):
        parts = [draw.choice(words) + draw.choice(_GAPS) for _ in range(draw.randrange(30))]
        if draw.random() < 0.3:
            parts += [chr(draw.randrange(0x110000)) for _ in range(draw.randrange(20))]
        draw.shuffle(parts)
        texts.append("".join(parts))
    return texts


def exported(folder: Path, model_folder: Path, limit: int, *, attention: bool) -> Path:
    """What FastEmbed's ``specific_model_path`` takes: an export of the model, cut at ``limit``."""
    folder.mkdir(parents=True, exist_ok=True)
    export_bert(model_folder, folder / "model.onnx", attention=attention)
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(model_folder / name, folder / name)
    limits = {"model_max_length": limit, "max_length": limit, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(limits))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    (folder / "stopwords.txt").write_text("\n".join(sorted(stopwords("english"))))
    return folder


def fastembed_bm25(folder: Path) -> Any:
    """FastEmbed's BM25 with our stop words; ``folder`` is empty."""
    from fastembed import SparseTextEmbedding

    (folder / "config.json").write_text("{}")
    (folder / "english.txt").write_text("\n".join(sorted(stopwords("english"))))
    return SparseTextEmbedding("Qdrant/bm25", specific_model_path=str(folder))


def differences(ours: SparseRows, theirs: Sequence[Any]) -> list[int]:
    """Rows that are not equal after sorting by index and rounding to float32."""
    found = []
    for row, embedding in enumerate(theirs):
        order = np.argsort(embedding.indices)
        indices, values = ours.row(row)
        same = np.array_equal(indices, embedding.indices[order])
        if not same or not np.array_equal(values, embedding.values[order].astype(np.float32)):
            found.append(row)
    return found
