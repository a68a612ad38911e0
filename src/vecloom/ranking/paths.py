"""What a path says of a file: a test, a stub that only gathers others, a sample or foreign code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

#: Paths whose answers are kept: the same files come up again and again.
_KNOWN = 8192

#: Folders of tests, in any language.
_TEST_FOLDER = re.compile(
    r"(?:^|/)(?:tests?|__tests__|specs?|testdata|test-fixtures|src/\w*Test|androidTest)/"
)

_ANY = r"(?:^|/)"
_JS = re.compile(r"\.(?:test|spec|e2e|cy)\.[cm]?[jt]sx?$")
_JVM = re.compile(_ANY + r"(?:\w*(?:Tests?|TestCase|Spec|Suite|IT)|Test[A-Z]\w*)\.\w+$")
_C = re.compile(_ANY + r"(?:test[_-][^/]*|[^/]*[_-](?:unit)?tests?)\.\w+$")

#: What test files are called, by language: a name that means a test in one is a plain one in another.
_TEST_FILES: Mapping[str, re.Pattern[str]] = {
    "python": re.compile(_ANY + r"(?:test_[^/]*|[^/]*_test|conftest)\.py$"),
    "go": re.compile(r"_test\.go$"),
    "javascript": _JS,
    "typescript": _JS,
    "tsx": _JS,
    "java": _JVM,
    "kotlin": _JVM,
    "scala": _JVM,
    "groovy": _JVM,
    "csharp": _JVM,
    "swift": re.compile(r"Tests?\.swift$"),
    "php": re.compile(r"Test\.php$"),
    "ruby": re.compile(_ANY + r"(?:test_[^/]*|[^/]*_(?:test|spec))\.rb$"),
    "elixir": re.compile(r"_test\.exs$"),
    "rust": re.compile(_ANY + r"(?:tests?|[^/]*_tests?)\.rs$"),
    "c": _C,
    "cpp": _C,
    "dart": re.compile(r"_test\.dart$"),
    "lua": re.compile(_ANY + r"(?:test_[^/]*|[^/]*_(?:test|spec))\.lua$"),
    "haskell": re.compile(r"(?:Spec|Test)s?\.hs$"),
    "bash": re.compile(r"\.bats$"),
    "perl": re.compile(r"\.t$"),
}

#: Files that mostly name what lies in others.
_STUB = re.compile(_ANY + r"(?:__init__\.pyi?|index\.[cm]?[jt]sx?|mod\.rs|package-info\.java)$")

#: Code that shows how something is used, and code of others.
_SAMPLE = re.compile(
    _ANY + r"(?:examples?|samples?|demos?|vendor|vendored|third[_-]party|node_modules)/",
    re.IGNORECASE,
)


@lru_cache(maxsize=_KNOWN)
def is_test(path: str, language: str) -> bool:
    """Whether a file of this language is called like a test, or lies in a folder of tests."""
    pattern = _TEST_FILES.get(language)
    return bool(_TEST_FOLDER.search(path) or (pattern and pattern.search(path)))


@lru_cache(maxsize=_KNOWN)
def is_stub(path: str) -> bool:
    """Whether a file is one that mostly gathers others (``__init__.py``, ``index.js``)."""
    return bool(_STUB.search(path))


@lru_cache(maxsize=_KNOWN)
def is_sample(path: str) -> bool:
    """Whether a file lies among examples, or in a copy of others' code."""
    return bool(_SAMPLE.search(path))
