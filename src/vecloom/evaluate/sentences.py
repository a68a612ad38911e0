"""What a docstring, a doc comment or a heading asks, if it asks anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vecloom.encoders.identifiers import parts_of
from vecloom.encoders.words import words

#: A query has so many words; fewer say too little, more are no question.
LEAST_WORDS = 4
MOST_WORDS = 25

#: Words that say nothing beside a name.
_EMPTY = frozenset(
    words(
        "a an and are as at be by class constructor does for from function get gets has in is it its method "
        "new of on or return returns set sets that the this to type with"
    )
)
_EDGES = re.compile(
    r"^\s*(?:/\*+[!<]?|\*+/|///?[/!<]*|\*(?![*/\w])|--+\[*=*\[?|;+|#+!?|%+|\{-+\s*\|?|\(\*+|<!--+)?\s?|\s*(?:\*+/|-+\}|\*+\)|--+>|\]=*\])\s*$"
)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>|\{@\w+\s+([^{}]{0,200})\}|:[\w:]{1,30}:(?=`)")
_QUOTED = re.compile(r"\[([\w.#]{1,80})\](?!\()")  # [Name], as KDoc, Rust and Go refer to it
_SENTENCE = re.compile(r"[.!?。](?=\s|$)")
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl)|\b[A-Z])$")
_SECTION = re.compile(
    r"\s*(?:[@\\]\w+|:(?:param|return|raise|type|rtype)\b|(?:Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?)"
    r"\s*:?\s*$|>>>|```|[-=~]{3,}\s*$|\.\. )"
)
_NO_PROSE = re.compile(
    r"copyright|licen[cs]e|spdx|\b(?:todo|fixme|xxx|hack|noqa|nolint|eslint|pylint|pragma|ts-ignore|type:)\b|[{};=]\s*$"
    r"|https?://|\bsee(?:\s+\W|\s+also)\b",
    re.IGNORECASE,
)


def without_comment_marks(text: str) -> str:
    """The lines of a comment without what makes them one (``//``, ``*``, ``#`` and so on)."""
    return "\n".join(_EDGES.sub("", _EDGES.sub("", line, count=1)) for line in text.splitlines())


def first_sentence(text: str) -> str:
    """The first sentence of a docstring or of a comment's text, as one line; "" where there is none.

    It ends at a full stop, at a blank line, or where parameters or examples begin. Markup is left out.
    """
    lines: list[str] = []
    for line in text.strip().splitlines():
        if not line.strip() or _SECTION.match(line):
            break
        lines.append(line.strip())
    said = _TAG.sub(lambda match: match[1] or "", " ".join(lines))
    said = _QUOTED.sub(r"\1", said).replace("`", "")
    for match in _SENTENCE.finditer(said):
        if not _ABBREVIATED.search(said, 0, match.start()):
            said = said[: match.start()]
            break
    return " ".join(said.split()).rstrip(".:")


def asks(sentence: str, names: Iterable[str]) -> bool:
    """Whether a sentence can be a query: of 4 to 25 words that say more than the names that it is about."""
    if not LEAST_WORDS <= len(sentence.split()) <= MOST_WORDS or _NO_PROSE.search(sentence):
        return False
    letters = sum(char.isalpha() or char.isspace() for char in sentence)
    if letters < 0.75 * len(sentence):
        return False
    known = {_stem(word) for name in names for word in name_words(name)}
    said = {_stem(word) for word in name_words(sentence) if word.encode() not in _EMPTY}
    return not said <= known


def name_words(name: str) -> list[str]:
    """The words of an identifier (or of any text), in lower case: ``parseHTTPDate`` has three."""
    return [part for word in re.findall(r"\w+", name) for part in parts_of(word)]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def flattened(text: str) -> bytes:
    """A text's words, a blank between them and at the ends: to see whether another holds the same words."""
    return b" " + b" ".join(words(text)) + b" "
