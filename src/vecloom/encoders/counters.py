"""Counting tokens the way a model's own tokenizer does, fast enough to size every chunk by it.

A counter whose ``additive`` is True gives a text the sum of the counts of its lines, so that a file is
counted once, line by line, and a chunk is a difference of two prefix sums.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.errors import WeightsError
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
    except (OSError, ValueError) as error:
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
            return list(map(self._count, texts))
        agreed = [_AGREED.fullmatch(text) is not None for text in texts]
        others = iter(self._exact.counts([text for text, ok in zip(texts, agreed, strict=True) if not ok]))
        return [self._count(text) if ok else next(others) for text, ok in zip(texts, agreed, strict=True)]


def load_counter(tokenizer_json: Path) -> TokenCounter:
    """The counter that suits a tokenizer: the fast one for WordPiece, else `tokenizers` itself.

    Raises:
        WeightsError: the file cannot be read.
    """
    kind = json.loads(_checked(tokenizer_json))["model"].get("type")
    return WordPieceCounter(tokenizer_json) if kind == "WordPiece" else HFCounter(tokenizer_json)


class WordCounter:
    r"""Counts words (``\w+``), for indexes whose models have no tokenizer: BM25 alone."""

    specials = 0
    additive = True

    def __init__(self) -> None:
        self._words = re.compile(r"\w+").findall

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(self._words(text)) for text in texts]


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
