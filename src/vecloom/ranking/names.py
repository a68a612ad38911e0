"""What a query's words and the names of files have to do with each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from vecloom.encoders.identifiers import parts_of, whole_of
from vecloom.encoders.stopwords import stopwords
from vecloom.paths import file_stem

#: Shorter words say little, and a shorter beginning is shared by chance.
_LEAST_WORD, _LEAST_BEGINNING = 3, 4

#: How much of a word is met by the same word, by one of the same stem, by one that begins like it, and by a
#: word of the folder's name.
_SAME, _STEM, _BEGINNING, _FOLDER = 1.0, 0.95, 0.9, 0.5

_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[\w.:#$-]+(?:\(\))?")
_NAME_PART = re.compile(r"[^.:#]+")


@dataclass(frozen=True, slots=True)
class QueryWords:
    """``stems`` of the words that say something, in order; ``spoken``: all words, in parts and whole."""

    stems: tuple[str, ...]
    spoken: frozenset[str]


def query_words(text: str) -> QueryWords:
    """The words of a query: identifiers in parts, stop words and those of one or two letters left out."""
    words = _WORD.findall(text)
    parts = [part for word in words for part in parts_of(word)]
    return QueryWords(tuple(_stems(parts)), frozenset(parts) | frozenset(map(whole_of, words)))


def name_asked(text: str) -> str:
    """A query that is a single name (``Flask``, ``app.route()``), in lower case, without ``()``; else ""."""
    text = text.strip()
    return text.removesuffix("()").lower() if _NAME.fullmatch(text) else ""


def same_name(asked: str, defined: str) -> bool:
    """Whether one of two names ends as the other one is: ``app.route`` and ``route``, ``a::B`` and ``B``."""
    parts, others = _NAME_PART.findall(asked), _NAME_PART.findall(defined.lower())
    count = min(len(parts), len(others))
    return count > 0 and parts[-count:] == others[-count:]


def filename_match(query: QueryWords, path: str) -> float:
    """From 0 to 1: how far a query asks for a file by its name.

    The square root of two parts: how many of the query's words the file's name and its folder's hold (half
    for the folder's), and how many words of the file's name the query holds.
    """
    own, folder = _file_words(path)
    if not own or not query.stems:
        return 0.0
    in_name = in_folder = 0.0
    for stem in query.stems:
        if stem in own:
            in_name += _SAME if own[stem] in query.spoken else _STEM
        elif _begins_alike(stem, own):
            in_name += _BEGINNING
        elif stem in folder or _begins_alike(stem, folder):
            in_folder += _FOLDER
    coverage = (in_name + in_folder) / len(query.stems)
    precision = min(1.0, in_name / len(own))
    return math.sqrt(coverage * precision)


@lru_cache(maxsize=8192)
def _file_words(path: str) -> tuple[dict[str, str], dict[str, str]]:
    """Stem -> word, of the file's name without its endings and of its folder's name."""
    *folders, name = path.split("/")
    return _stems(_parts_of_name(name)), _stems(_parts_of_name(folders[-1] if folders else ""))


def _parts_of_name(name: str) -> list[str]:
    """The words of a file's or folder's name without its endings."""
    return [part for word in _WORD.findall(file_stem(name)) for part in parts_of(word)]


def _stems(words: Iterable[str]) -> dict[str, str]:
    """Stem -> word, of the words that say something."""
    stem = _stemmer().stem_word
    return {
        stem(word): word for word in words if len(word) >= _LEAST_WORD and word not in stopwords("english")
    }


def _begins_alike(stem: str, others: Iterable[str]) -> bool:
    """Whether one of two words is the other's beginning."""
    head = stem[:_LEAST_BEGINNING]
    if len(head) < _LEAST_BEGINNING:
        return False
    for other in others:
        if other.startswith(head) and (other.startswith(stem) or stem.startswith(other)):
            return True
    return False


@cache
def _stemmer() -> Any:
    from py_rust_stemmers import SnowballStemmer

    return SnowballStemmer("english")
