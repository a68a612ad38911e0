"""Words too common to tell documents apart, one list a language.

``english.txt`` is NLTK's list of 179 words, the one that FastEmbed's BM25 and Qdrant's server use.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from vecloom.errors import ConfigError


@cache
def stopwords(language: str) -> frozenset[str]:
    """The stop words of ``language`` ("english").

    Raises:
        ConfigError: there is no list for the language.
    """
    folder = Path(__file__).parent
    path = folder / f"{language}.txt"
    if path.parent != folder or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt")))
        raise ConfigError(f"no stop words for language {language!r}; there are lists for: {known}")
    return frozenset(path.read_text(encoding="utf-8").split("\n")) - {""}
