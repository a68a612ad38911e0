"""The engine over the real BM25 encoder and an encoder of its own that counts what it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecloom.encoders import PassStats
from vecloom.encoders.backends import ANYHOW, runs_of
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.counters import CounterSettings, make_counter
from vecloom.encoders.load import passes_of
from vecloom.engine import Engine, take_rows
from vecloom.errors import UsageError
from vecloom.registry import ModelSpec, Registry
from vecloom.types import SparseRows, Vectors


class LengthEncoder:
    """A text's length as ``length`` [n, 2], and its characters as ``letters``."""

    names: tuple[str, ...] = ("length", "letters")

    def __init__(self) -> None:
        self.counting = CounterSettings()
        self.asked: list[tuple[list[str], tuple[str, ...]]] = []

    def encode_documents(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> tuple[Mapping[str, Vectors], PassStats]:
        self.asked.append((list(texts), tuple(names or self.names)))
        size = sum(map(len, texts))
        return self.encode_queries(texts, names), PassStats(len(texts), size, size + 1, 1, 2)

    def encode_queries(
        self, texts: Sequence[str], names: Sequence[str] | None = None
    ) -> Mapping[str, Vectors]:
        lengths = np.array([[len(text), -len(text)] for text in texts], dtype=np.float32).reshape(-1, 2)
        letters = [sorted(set(text)) for text in texts]
        indices = np.array([ord(letter) for row in letters for letter in row], dtype=np.uint32)
        indptr = np.cumsum([0, *map(len, letters)])
        rows = SparseRows(indptr, indices, np.ones(len(indices), dtype=np.float32))
        found: dict[str, Vectors] = {"length": lengths, "letters": rows}
        return {name: found[name] for name in names or self.names}

    def terms(self, texts: Sequence[str], rows: Mapping[str, SparseRows]) -> Mapping[str, list[str]]:
        return {name: [*map(chr, found.indices.tolist())] for name, found in rows.items()}


@pytest.fixture
def lengths() -> LengthEncoder:
    return LengthEncoder()


@pytest.fixture
def engine(lengths: LengthEncoder) -> Engine:
    return Engine([lengths, Bm25Encoder(Registry().find("bm25"))])


def test_names_and_passes(engine: Engine) -> None:
    assert engine.names == ("length", "letters", "bm25")
    assert engine.passes == (("length", "letters"), ("bm25",))


def test_equal_texts_are_encoded_once_and_given_back_in_order(engine: Engine, lengths: LengthEncoder) -> None:
    vectors, stats = engine.encode_documents(["ab", "c", "ab", "", "c"])
    assert lengths.asked == [(["ab", "c", ""], ("length", "letters"))]
    assert np.asarray(vectors["length"])[:, 0].tolist() == [2, 1, 2, 0, 1]
    letters = vectors["letters"]
    assert isinstance(letters, SparseRows)
    assert [letters.row(i)[0].tolist() for i in range(5)] == [[97, 98], [99], [97, 98], [], [99]]
    bm25 = vectors["bm25"]
    assert isinstance(bm25, SparseRows)
    assert np.array_equal(bm25.row(0)[0], bm25.row(2)[0])
    assert stats == PassStats(texts=6, tokens=5, padded=6, cut_texts=1, cut_tokens=2, reused=4)


def test_only_what_is_asked_runs(engine: Engine, lengths: LengthEncoder) -> None:
    vectors, stats = engine.encode_documents(["ab"], ["bm25"])
    assert list(vectors) == ["bm25"]
    assert (stats.texts, lengths.asked) == (1, [])
    assert list(engine.encode_queries(["ab"], ["letters"])) == ["letters"]
    engine.encode_documents(["ab"], ["letters"])
    assert lengths.asked == [(["ab"], ("letters",))]


@pytest.mark.parametrize("method", ["encode_documents", "encode_queries"])
def test_an_unknown_name_is_refused_with_the_known_ones(method: str, engine: Engine) -> None:
    with pytest.raises(
        UsageError, match="no model gives the vector 'minilm'; there are length, letters, bm25"
    ):
        getattr(engine, method)(["a"], ["bm25", "minilm"])


def test_no_texts(engine: Engine) -> None:
    vectors, stats = engine.encode_documents([])
    assert np.asarray(vectors["length"]).shape == (0, 2)
    assert isinstance(vectors["bm25"], SparseRows)
    assert len(vectors["bm25"]) == stats.texts == stats.reused == 0


def test_terms_are_told_text_by_text_for_sparse_vectors_only(engine: Engine) -> None:
    texts = ["opening connections", "", "ab"]
    vectors, _ = engine.encode_documents(texts)
    terms = engine.terms(texts, vectors)
    assert set(terms) == {"letters", "bm25"}
    assert [sorted(row) for row in terms["bm25"]] == [["connect", "open"], [], ["ab"]]
    assert terms["letters"][1:] == [[], ["a", "b"]]
    with pytest.raises(UsageError, match="no model gives the vector 'minilm'"):
        engine.terms(texts, {"minilm": vectors["bm25"]})


@given(st.lists(st.lists(st.integers(0, 50), max_size=5, unique=True), min_size=1, max_size=6), st.data())
def test_take_rows_takes_sparse_rows(rows: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    flat = [value for row in rows for value in row]
    vectors = SparseRows(
        np.cumsum([0, *map(len, rows)]), np.array(flat, dtype=np.uint32), np.array(flat, dtype=np.float32)
    )
    taken = take_rows(vectors, chosen)
    assert isinstance(taken, SparseRows)
    assert [taken.row(i)[0].tolist() for i in range(len(taken))] == [rows[i] for i in chosen]
    assert taken.indices.tolist() == taken.values.tolist()


def test_take_rows_takes_dense_rows_and_matrices() -> None:
    dense = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.asarray(take_rows(dense, [2, 0, 2])).tolist() == [[4, 5], [0, 1], [4, 5]]
    taken = take_rows([dense[:1], dense], [1])
    assert isinstance(taken, list)
    assert taken[0] is dense


def test_encoders_are_grouped_by_pass(tmp_path: Path) -> None:
    from tiny_bert import HIDDEN, make_tiny_bert

    folder = make_tiny_bert(tmp_path / "model")
    registry = Registry()
    specs = registry.select(["bm42", "bm25", "minilm"])
    sized = [_sized(spec, HIDDEN) for spec in specs]
    asked: list[str] = []

    def folder_of(spec: ModelSpec) -> Path:
        asked.append(spec.key)
        return folder

    encoders = [
        one.load() for one in passes_of(sized, runs_of(sized, ANYHOW), folder_of, tmp_path, threads=1)
    ]
    assert [encoder.names for encoder in encoders] == [("minilm-attention", "qdrant-minilm"), ("bm25",)]
    assert asked == ["qdrant-minilm-attention", "qdrant-minilm-onnx"]
    assert make_counter([encoders[0].counting]).counts(["open connection"])[0] >= 2
    vectors, stats = Engine(encoders).encode_documents(["open the connection"] * 3)
    assert set(vectors) == {"minilm-attention", "bm25", "qdrant-minilm"}
    assert (stats.texts, stats.reused) == (2, 4)


def _sized(spec: ModelSpec, dim: int) -> ModelSpec:
    return replace(spec, dim=dim) if spec.kind == "dense" else spec
