"""Token counters against the tokenizers whose tokens they count."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import pytest
from bench.standins import write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from bpe_tokenizer import write_bpe
from vecloom.encoders.counters import HFCounter, MaxCounter, WordCounter, WordPieceCounter
from vecloom.errors import WeightsError

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("abcXYZ0189_-.,()[]{} \t\r\x00\x0b\x7f\u0301\u200déİßﬁ中한😀"),
    ),
    max_size=60,
)


@cache
def _minilm(path: Path) -> WordPieceCounter:
    return WordPieceCounter(path)


@cache
def _tokenizer(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def exact(path: Path, text: str) -> int:
    return len(_tokenizer(path).encode(text, add_special_tokens=False))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordpiece")
    write_tokenizer(folder)
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bpe(tmp_path_factory.mktemp("bpe"))


def test_truncation_and_padding_in_the_file_are_switched_off(tiny: Path) -> None:
    for counter in (WordPieceCounter(tiny), HFCounter(tiny)):
        assert counter.specials == 2
        assert counter.counts(["the run " * 100, "", "not"]) == [200, 0, 1]


@settings(deadline=None)
@given(text=TEXTS)
def test_wordpiece_counts_are_those_of_the_minilm_tokenizer(minilm_folder: Path, text: str) -> None:
    path = minilm_folder / "tokenizer.json"
    counter = _minilm(path)
    assert counter.fast
    assert counter.counts([text, "a", text]) == [exact(path, text), 1, exact(path, text)]


@settings(deadline=None)
@given(lines=st.lists(TEXTS, max_size=6))
def test_an_additive_counter_gives_a_text_the_sum_of_its_lines(minilm_folder: Path, lines: list[str]) -> None:
    for counter in (_minilm(minilm_folder / "tokenizer.json"), WordCounter()):
        whole = "\n".join(lines)
        parts = [line + "\n" for line in whole.split("\n")]
        assert counter.counts([whole]) == [sum(counter.counts(parts))]


def test_counts_of_real_source_are_equal(minilm_folder: Path) -> None:
    path = minilm_folder / "tokenizer.json"
    lines = Path(sysconfig.get_path("stdlib"), "argparse.py").read_text("utf-8").split("\n")
    assert _minilm(path).counts(lines) == HFCounter(path).counts(lines)


def test_code_points_that_the_fast_library_counts_otherwise_are_counted_right(minilm_folder: Path) -> None:
    path = minilm_folder / "tokenizer.json"
    texts = ["a\x7fb", "a\u061db", "a\u2e43b", "a\ufada", "plain", "a\U00016fe2b"]
    assert _minilm(path).counts(texts) == [exact(path, text) for text in texts]


def test_a_tokenizer_that_the_fast_library_counts_otherwise_is_counted_by_the_exact_one(
    tmp_path: Path,
) -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "##b": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("b", behavior="isolated")
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    counter = WordPieceCounter(path)
    assert counter.counts(["abab", "a b", "bb"]) == HFCounter(path).counts(["abab", "a b", "bb"])


def test_words_are_runs_of_letters_digits_and_underscores() -> None:
    counter = WordCounter()
    assert counter.counts(["", "a_b c-d 42 é中", "\n\n"]) == [0, 5, 0]
    assert counter.specials == 0


def test_the_largest_count_rules(tiny: Path, bpe: Path) -> None:
    words, pieces, bytes_ = WordCounter(), WordPieceCounter(tiny), HFCounter(bpe)
    both = MaxCounter([words, pieces])
    assert both.additive
    assert both.specials == 2
    assert not MaxCounter([words, bytes_]).additive
    texts = ["running opened", "qqqq zz", ""]
    expected = [max(pair) for pair in zip(words.counts(texts), pieces.counts(texts), strict=True)]
    assert both.counts(texts) == expected
    with pytest.raises(ValueError, match="at least one"):
        MaxCounter([])


def test_a_byte_pair_tokenizer_is_not_additive(bpe: Path) -> None:
    counter = HFCounter(bpe)
    assert not counter.additive
    assert counter.counts(["a\n\nb"])[0] < sum(counter.counts(["a\n", "\n", "b"]))


@pytest.mark.parametrize("content", [None, "not json", "{}", '{"model": {"type": "None"}}'])
def test_a_missing_or_broken_tokenizer_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        WordPieceCounter(path)
