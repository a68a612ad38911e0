"""Counting tokens the way a model's own tokenizer does, fast enough to size every chunk by it.

A counter whose ``additive`` is True gives a text the sum of the counts of its lines, so that a file is
counted once, line by line, and a chunk is a difference of two prefix sums.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.errors import WeightsError, is_panic
from vecloom.types import TokenCounter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Code points on which tokie 0.1.4 and tokenizers 0.23 were seen to agree one by one (alone, between letters,
# after a combining mark). They differ on DEL, on punctuation younger than Unicode 9 and on unassigned code
# points, so whatever is outside these blocks is counted by tokenizers.
_AGREED = re.compile(
    "[\x00-\x7e\x80-\u0377\u0384-\u038a\u038e-\u03a1\u03a3-\u052f\u0591-\u05c7\u05d0-\u05ea\u0620-\u06ff"
    "\u0900-\u0980\u1e00-\u1eff\u2000-\u2064\u2074-\u208e\u2090-\u209c\u20a0-\u20bf\u2100-\u218b"
    "\u2190-\u2426\u2460-\u2b73\u3000-\u303f\u3041-\u3096\u3099-\u30ff\u3131-\u318e\u3400-\u4db5"
    "\u4e00-\u9fef\uac00-\ud7a3\uff01-\uffbe\U0001f300-\U0001f6d2\U0001f910-\U0001f93e]*"
)

# One of each kind that tokenizers disagree on: case, accents, long words, controls, scripts, special tokens.
_PROBES = (
    "",
    "Hello, World!",
    "def __init__(self, *args: int) -> None:\n\treturn self._x[0] != 1.5e-3\n",
    "getHTTPResponseCode camelCase snake_case kebab-case SCREAMING_CASE",
    "É è ñ e\u0301 Å İstanbul ß ſ ﬁ ǆ",
    "a\x00b a\x0bb a\x0cc a\x1fb a\x80b \ufffd",
    "x" * 100 + " " + "x" * 101 + " " + "é" * 101,
    "中文字 日本語のテスト 한국어 텍스트 кириллица ελληνικά עברית العربية हिन्दी",
    "[CLS] a [SEP] b [MASK] [PAD] [UNK] [mask] ##ing [CLS",
    "“quotes” — dash … • ≤ → ∀x ∈ ℝ ½ ² ①",
    "😀 👩\u200d👩\u200d👧 \u00ad \u200b \u2028 \u3000 \u00a0",
    "http://example.org/a?b=c&d=%20#e user@host $HOME `x` ~/.config \\n",
)


def _checked(tokenizer_json: Path) -> bytes:
    """The file, known to hold a vocabulary: what the tokenizers library raises has no class of its own."""
    try:
        data = tokenizer_json.read_bytes()
        said = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{str(tokenizer_json)!r} cannot be read ({error}); pull the model again"
        ) from error
    model = said.get("model") if isinstance(said, dict) else None
    if not isinstance(model, dict) or "vocab" not in model:
        raise WeightsError(f"{str(tokenizer_json)!r} describes no tokenizer; pull the model again")
    return data


def _load(tokenizer_json: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(_checked(tokenizer_json))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class HFCounter:
    """Counts with the `tokenizers` library, whatever the model (BPE, Unigram, WordPiece).

    Truncation and padding that the file carries are switched off. Not additive: a BPE or Unigram tokenizer
    may join characters across a line end.
    """

    additive = False

    def __init__(self, tokenizer_json: Path) -> None:
        self._tokenizer = _load(tokenizer_json)
        self.specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]


class WordPieceCounter:
    """Counts a BERT tokenizer's tokens, with tokie (about 45 MB/s) where it counts as `tokenizers` does.

    Additive, because BERT's pre-tokenisation splits at line ends. The first use compares both libraries on a
    probe set (`fast` tells the outcome); texts with code points outside the blocks on which they were seen
    to agree go to `tokenizers` in any case.
    """

    additive = True

    def __init__(self, tokenizer_json: Path) -> None:
        self._exact = HFCounter(tokenizer_json)
        self._path = tokenizer_json
        self._count: Callable[[str], int] | None = None
        self._checked = False
        self.specials = self._exact.specials

    @property
    def fast(self) -> bool:
        """True where tokie counts this model's tokens as `tokenizers` does."""
        if not self._checked:
            self._count = self._checked_count()
            self._checked = True
        return self._count is not None

    def _checked_count(self) -> Callable[[str], int] | None:
        import tokie

        try:
            tokenizer = tokie.Tokenizer.from_json(str(self._path))
        except tokie.TokieError:  # a model tokie cannot read is counted by tokenizers
            return None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        agree = [tokenizer.count_tokens(probe) for probe in _PROBES] == self._exact.counts(_PROBES)
        return tokenizer.count_tokens if agree else None

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        if not self.fast or self._count is None:
            return self._exact.counts(texts)
        joined = "".join(texts)
        if (joined.isascii() and "\x7f" not in joined) or _AGREED.fullmatch(joined):
            return self._count_fast(texts, self._count)
        agreed = [_AGREED.fullmatch(text) is not None for text in texts]
        others = iter(self._exact.counts([text for text, ok in zip(texts, agreed, strict=True) if not ok]))
        fast = iter(
            self._count_fast([text for text, ok in zip(texts, agreed, strict=True) if ok], self._count)
        )
        return [next(fast) if ok else next(others) for ok in agreed]

    def _count_fast(self, texts: Sequence[str], count: Callable[[str], int]) -> list[int]:
        """Counts by tokie; where it panics (long lines that are not ASCII), by `tokenizers`."""
        try:
            return list(map(count, texts))
        except BaseException as error:
            if not is_panic(error):
                raise
            return self._exact.counts(texts)


class WordCounter:
    r"""Counts words (``\w+``), for indexes whose models have no tokenizer: BM25 alone."""

    specials = 0
    additive = True

    def __init__(self) -> None:
        self._words = re.compile(r"\w+").findall

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(self._words(text)) for text in texts]


class ByteCounter:
    """Counts the bytes of a text's UTF-8: no tokenizer gives more tokens, and no native code runs."""

    additive = True

    def __init__(self, specials: int) -> None:
        """``specials``: special tokens that the models' own tokenizers add to every text."""
        self.specials = specials

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Bytes of each text."""
        return [len(text.encode()) for text in texts]


class MaxCounter:
    """The largest count that any of several counters gives: what fits here fits every model.

    ``specials`` is the largest of theirs, so a text may be counted a few tokens too long, never too short.
    Additive only where every counter is; even then a sum of lines may exceed the count of the whole, never
    fall short of it.
    """

    def __init__(self, counters: Sequence[TokenCounter]) -> None:
        if not counters:
            raise ValueError("MaxCounter needs at least one counter")
        self._counters = tuple(counters)
        self.specials = max(counter.specials for counter in self._counters)
        self.additive = all(counter.additive for counter in self._counters)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The largest count of each text."""
        columns = [counter.counts(texts) for counter in self._counters]
        return [max(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True)
class CounterSettings:
    """What a model's counter is made from: plain data, so that another process can make it.

    ``tokenizer_json``: the tokenizer's file; "" counts words. ``specials``: special tokens of every text
    (None: the tokenizer's own). ``prompt``: what precedes every text and counts as special tokens.
    """

    tokenizer_json: str = ""
    specials: int | None = None
    prompt: str = ""


def make_counter(settings: Sequence[CounterSettings]) -> TokenCounter:
    """The counter of one model, or the largest count of several; words where there are none.

    A WordPiece tokenizer gets the fast counter, any other one `tokenizers` itself.

    Raises:
        WeightsError: a tokenizer's file cannot be read.
    """
    counters = [_load_counter(one) for one in dict.fromkeys(settings)] or [WordCounter()]
    return counters[0] if len(counters) == 1 else MaxCounter(counters)


def _load_counter(settings: CounterSettings) -> TokenCounter:
    if not settings.tokenizer_json:
        return WordCounter()
    path = Path(settings.tokenizer_json)
    kind = json.loads(_checked(path))["model"].get("type")
    counter: TokenCounter = WordPieceCounter(path) if kind == "WordPiece" else HFCounter(path)
    if settings.specials is not None:
        counter.specials = settings.specials
    if settings.prompt:
        counter.specials += counter.counts([settings.prompt])[0]
    return counter
