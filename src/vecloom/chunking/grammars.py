"""Parsing with the bundled tree-sitter grammars, within a bounded amount of work."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

from vecloom.chunking import unpacking

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

#: Names that sources and users give languages, where the grammar is called otherwise.
_GRAMMAR_NAMES = {
    "c#": "csharp",
    "c++": "cpp",
    "c_sharp": "csharp",
    "cs": "csharp",
    "cuda": "cpp",
    "cython": "python",
    "golang": "go",
    "javascriptreact": "tsx",
    "js": "javascript",
    "jsonl": "json",
    "jsx": "tsx",
    "ksh": "bash",
    "less": "scss",
    "makefile": "make",
    "objective-c": "objc",
    "objectivec": "objc",
    "protobuf": "proto",
    "py": "python",
    "rb": "ruby",
    "rs": "rust",
    "sh": "bash",
    "shell": "bash",
    "terraform": "hcl",
    "ts": "typescript",
    "typescriptreact": "tsx",
    "zsh": "bash",
}

# tree-sitter reports progress every 100 parse operations; ordinary source takes 0.5 to 1.5 operations a byte.
# Counting operations, not seconds, keeps the outcome the same on a slow machine; the clock only stops what
# operations do not show (error recovery in deep nesting, some scanners).
_FREE_REPORTS = 2_000
_BYTES_PER_REPORT = 12
_FREE_SECONDS = 5.0
_SECONDS_PER_BYTE = 2e-6
# How much of the source the parser is handed at a time; each time it comes back it gets a copy.
_WINDOW = 8192

# What crashes a grammar's scanner, whose state has a fixed size; such a text is not given to it.
_CRASHES = {"perl": re.compile(rb"<<[~'\"\s\\]*\w{100}")}

_threads = threading.local()

#: Begins the message of a `ParseError` where a grammar can be had in no folder; see `unpacking.HINT`.
CANNOT_UNPACK = "cannot unpack the grammar"


class ParseError(Exception):
    """A text could not be parsed; the message says why in a few words."""


def grammar_name(language: str) -> str:
    """The grammar that a language's name means; it may not exist."""
    lowered = language.lower()
    return _GRAMMAR_NAMES.get(lowered, lowered)


def _parser(grammar: str) -> Parser:
    """A grammar's parser, one to a thread: they must not be shared."""
    from semble_grammars import (
        GrammarLoadError,
        LanguageNotFoundError,
        UnsupportedPlatformError,
        get_parser,
    )

    parsers: dict[str, Parser] = _threads.__dict__
    if grammar not in parsers:
        try:
            parsers[grammar] = get_parser(grammar)
        except LanguageNotFoundError as error:
            raise ParseError(f"no grammar for {grammar!r}") from error
        except UnsupportedPlatformError as error:
            raise ParseError(f"grammar {grammar!r} cannot be loaded: {error}") from error
        except (GrammarLoadError, RuntimeError) as error:  # RuntimeError: there is no home folder
            parsers[grammar] = _parser_elsewhere(grammar, error)
    return parsers[grammar]


def _parser_elsewhere(grammar: str, problem: Exception) -> Parser:
    """The parser of a grammar that lies unpacked in the default folder of semble-grammars."""
    from semble_grammars import GrammarLoadError, get_parser

    ours, default = os.environ.get(unpacking.VARIABLE), unpacking.default_folder()
    if ours is not None and default is not None:
        os.environ[unpacking.VARIABLE] = str(default)
        try:
            found: Parser = get_parser(grammar)
            return found
        except GrammarLoadError:
            pass
        finally:
            os.environ[unpacking.VARIABLE] = ours
    raise ParseError(f"{CANNOT_UNPACK} {grammar!r}") from problem


def parse(source: bytes, grammar: str) -> Node:
    """The root node of ``source`` (UTF-8).

    Raises:
        ParseError: there is no such grammar, or parsing takes far more work than its size explains.
    """
    parser = _parser(grammar)
    if grammar in _CRASHES and _CRASHES[grammar].search(source):
        raise ParseError(f"the {grammar} parser cannot be trusted with names of this length")
    reports = 0
    limit = _FREE_REPORTS + len(source) // _BYTES_PER_REPORT
    deadline = time.process_time() + _FREE_SECONDS + len(source) * _SECONDS_PER_BYTE

    def stop(_offset: int, _has_error: bool) -> bool:
        nonlocal reports
        reports += 1
        return reports > limit or time.process_time() > deadline

    try:
        tree = parser.parse(lambda offset, _point: source[offset : offset + _WINDOW], progress_callback=stop)
    except ValueError as error:  # how the binding reports a parse that was stopped
        parser.reset()
        raise ParseError(f"the {grammar} parser gave up after {reports * 100} operations") from error
    return tree.root_node
