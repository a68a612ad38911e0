"""BM25 against FastEmbed's, against the formula written out, and against its own promises."""

from __future__ import annotations

import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mmh3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_rust_stemmers import SnowballStemmer

from fastembed_peers import colliding_words, differences, fastembed_bm25, odd_texts
from vecloom.encoders import terms
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.stopwords import stopwords
from vecloom.encoders.words import words
from vecloom.errors import ConfigError
from vecloom.registry import Registry
from vecloom.types import SparseRows

SPEC = Registry().find("qdrant-bm25")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fastembed_bm25(tmp_path_factory.mktemp("bm25"))


@pytest.fixture(scope="module")
def encoder() -> Bm25Encoder:
    return Bm25Encoder(SPEC)


def documents(encoder: Bm25Encoder, texts: list[str]) -> SparseRows:
    return encoder.encode_documents(texts)[0]["bm25"]


def test_equal_to_fastembed_on_ten_thousand_odd_texts(peer: Any, encoder: Bm25Encoder) -> None:
    texts = odd_texts(10_000, seed=1)
    assert differences(documents(encoder, texts), list(peer.embed(texts))) == []


@given(st.lists(st.text(max_size=300), max_size=4))
@settings(deadline=None)
def test_equal_to_fastembed_on_any_text(peer: Any, encoder: Bm25Encoder, texts: list[str]) -> None:
    assert differences(documents(encoder, texts), list(peer.embed(texts))) == []


def test_queries_have_fastembeds_indices_and_weigh_one(peer: Any, encoder: Bm25Encoder) -> None:
    texts = odd_texts(500, seed=2)
    found = encoder.encode_queries(texts)["bm25"]
    assert set(found.values.tolist()) == {1.0}
    assert found.values.dtype == np.float32
    for row, expected in enumerate(peer.query_embed(texts)):
        assert np.array_equal(found.row(row)[0], np.sort(expected.indices))


def test_the_formula_written_out(encoder: Bm25Encoder) -> None:
    text = "Retries: the retry loop retries 3 times, and the loop_count is HTTP_ERROR."
    stem = SnowballStemmer("english").stem_word
    kept = [
        stem(word)
        for word in ("retries", "retry", "loop", "retries", "3", "times", "loop_count", "http_error")
    ]
    expected = {
        abs(mmh3.hash(word)): f * (1.2 + 1) / (f + 1.2 * (1 - 0.75 + 0.75 * len(kept) / 256.0))
        for word, f in Counter(kept).items()
    }
    indices, values = documents(encoder, [text]).row(0)
    assert indices.tolist() == sorted(expected)
    assert values.tolist() == [np.float32(expected[index]) for index in indices.tolist()]


def test_golden_values(encoder: Bm25Encoder) -> None:
    """FastEmbed 0.9.1's own, so that a change of both libraries' parts shows."""
    found = documents(encoder, ["How to open a TCP connection in python"])
    assert found.indices.tolist() == [683459885, 960218873, 1223115691, 2091876921]
    np.testing.assert_allclose(found.values, [1.6741974] * 4, rtol=1e-7)


def test_of_two_stems_with_one_id_the_later_ones_value_stands(encoder: Bm25Encoder) -> None:
    first, second = colliding_words()
    one, two = documents(encoder, [f"{first} {first} {second}", f"{second} {first} {first}"]).values.tolist()
    alone = documents(encoder, [f"{first} {first} open", f"{second} open open"])
    number = abs(mmh3.hash(first))
    twice, once = (alone.row(row)[1][alone.row(row)[0] == number].item() for row in (0, 1))
    assert (one, two) == (once, twice)
    both = [f"{first} {second}", f"{second} {first}"]
    assert encoder.terms(both, {"bm25": documents(encoder, both)}) == {"bm25": [second, first]}


@given(st.lists(st.text(st.characters() | st.sampled_from("abc _.Σ\u0345'"), max_size=60), max_size=8))
def test_rows_are_sorted_unique_finite_and_named_by_their_stems(
    encoder: Bm25Encoder, texts: list[str]
) -> None:
    rows = documents(encoder, texts)
    stems = encoder.terms(texts, {"bm25": rows})["bm25"]
    assert [str(a.dtype) for a in (rows.indptr, rows.indices, rows.values)] == ["int64", "uint32", "float32"]
    assert rows.indptr[0] == 0
    assert len(rows) == len(texts)
    assert rows.indptr[-1] == len(rows.indices) == len(rows.values) == len(stems)
    assert all((np.diff(rows.row(i)[0].astype(np.int64)) > 0).all() for i in range(len(rows)))
    assert np.isfinite(rows.values).all()
    assert rows.indices.tolist() == [abs(mmh3.hash(stem)) for stem in stems]
    assert encoder.terms(texts, {}) == {}


def test_a_document_without_words_gives_an_empty_row(encoder: Bm25Encoder) -> None:
    found, stats = encoder.encode_documents(["", "the", "open", "_ !", "a" * 41])
    assert np.diff(found["bm25"].indptr).tolist() == [0, 0, 1, 0, 0]
    assert (stats.texts, stats.tokens, stats.padded, stats.cut_texts) == (5, 1, 1, 0)


def test_many_texts_are_what_each_is_alone(encoder: Bm25Encoder) -> None:
    texts = odd_texts(2500, seed=3)
    together = documents(encoder, texts)
    for row in (0, 1023, 1024, 2047, 2048, 2499):
        alone = documents(Bm25Encoder(SPEC), [texts[row]])
        assert np.array_equal(alone.indices, together.row(row)[0])
        assert np.array_equal(alone.values, together.row(row)[1])


def test_a_full_table_starts_afresh_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = odd_texts(3000, seed=4)
    expected = documents(Bm25Encoder(SPEC), texts)
    monkeypatch.setattr(terms, "TABLE_WORDS", 50)
    encoder = Bm25Encoder(SPEC)
    found = documents(encoder, texts)
    stems = encoder.terms(texts, {"bm25": found})["bm25"]
    assert np.array_equal(found.indices, expected.indices)
    assert np.array_equal(found.values, expected.values)
    assert found.indices.tolist() == [abs(mmh3.hash(stem)) for stem in stems]


def test_threads_share_a_table_that_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = odd_texts(2000, seed=5)
    expected = documents(Bm25Encoder(SPEC), texts)
    monkeypatch.setattr(terms, "TABLE_WORDS", 50)
    encoder = Bm25Encoder(SPEC)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: documents(encoder, texts), range(8)):
            assert np.array_equal(found.indices, expected.indices)
            assert np.array_equal(found.values, expected.values)


@pytest.mark.parametrize(("last", "bits"), [(0, 32), (2**30 - 1, 32), (2**31, 64), (2**40, 64)])
def test_documents_and_stems_are_packed_in_order_and_come_back(last: int, bits: int) -> None:
    table = terms.StemTable("english", [])
    numbers = [int.from_bytes(table[word], "little") for word in (b"one", b"two", b"three")]
    documents = np.array([0, 0, last, last])
    stems = np.array([numbers[0], numbers[2], numbers[0], numbers[2]], dtype=np.uint32)
    packed = table.packed(documents, stems)
    assert packed.dtype.itemsize * 8 == bits
    assert last == 0 or (np.diff(packed.astype(np.int64)) > 0).all()
    assert [part.tolist() for part in table.unpacked(packed)] == [documents.tolist(), stems.tolist()]


def test_words_of_every_code_point() -> None:
    def plainly(text: str) -> list[str]:
        text = re.sub(r"[^\w\s]", " ", text)
        return re.sub(r"[^\w]", " ", text.lower()).split()

    for first in range(0, sys.maxunicode + 1, 4999):
        text = "".join(f" {chr(c)} Σ{chr(c)}Σ" for c in range(first, min(first + 4999, sys.maxunicode + 1)))
        assert [word.decode() for word in words(text)] == plainly(text)


def test_stop_words() -> None:
    english = stopwords("english")
    assert len(english) == 179
    assert {"i", "wouldn't", "the"} < english
    with pytest.raises(ConfigError, match=r"'\.\./english'; there are lists for: english"):
        stopwords("../english")
