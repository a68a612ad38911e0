"""Chunkers side by side: speed, budget, tiny chunks, what is lost, and functions cut that would have fit.

    python bench/chunkers.py [FOLDER ...] [--megabytes 4] [--peer-megabytes 1] [--budget 256]

Without a folder: the standard library of the running Python and its installed packages. Tokens are MiniLM's.
Each tool gets the same text budget (the chunk budget less special tokens); vecloom's chunks carry a header
within it. A function *fits* where its lines have no more tokens than the tool had room for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vecloom.chunking import Chunker
from vecloom.chunking.grammars import parse
from vecloom.config import load_config
from vecloom.encoders.counters import WordPieceCounter
from vecloom.sources.languages import language_of_name
from vecloom.sources.unwanted import generated_mark
from vecloom.types import Document, TokenCounter
from vecloom.weights import Weights

TINY = 32
#: What a peer raises that is not installed, does not know a language, or wants to download its grammar.
_ABSENT = (AttributeError, ImportError, LookupError, OSError, PackageNotFoundError, RuntimeError, ValueError)
LARGEST_FILE = 1_000_000
#: Types of the nodes that are whole functions, by language.
FUNCTIONS = {
    "bash": {"function_definition"},
    "c": {"function_definition"},
    "cpp": {"function_definition"},
    "csharp": {"method_declaration", "constructor_declaration", "local_function_statement"},
    "go": {"function_declaration", "method_declaration"},
    "java": {"method_declaration", "constructor_declaration"},
    "javascript": {"function_declaration", "method_definition", "generator_function_declaration"},
    "kotlin": {"function_declaration"},
    "lua": {"function_declaration"},
    "php": {"function_definition", "method_declaration"},
    "python": {"function_definition"},
    "ruby": {"method", "singleton_method"},
    "rust": {"function_item"},
    "scala": {"function_definition"},
    "swift": {"function_declaration", "init_declaration"},
    "tsx": {"function_declaration", "method_definition"},
    "typescript": {"function_declaration", "method_definition"},
    "zig": {"function_declaration"},
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk by any tool: bytes start..end of the file (None where it does not say), and its header."""

    text: str
    start: int | None
    end: int | None
    header: str = ""


Tool = Callable[[Document], Sequence[Piece]]


def documents(folders: Iterable[Path]) -> Iterator[Document]:
    """UTF-8 files of known languages under the folders in order of path, as an index run would take them."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            language = language_of_name(path.name)
            if language is None or path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > LARGEST_FILE:
                continue
            try:
                text = path.read_bytes().decode()
            except UnicodeDecodeError:
                continue
            if language.kind == "code" and generated_mark(text, language.name):
                continue
            name = path.relative_to(folder).as_posix()
            yield Document(folder.name, name, text, language.kind, language.name, "")


def by_language(found: Iterable[Document], limit: int) -> dict[str, list[Document]]:
    """Documents by language, at most ``limit`` bytes of each; languages with next to nothing left out."""
    groups: dict[str, list[Document]] = {}
    sizes: dict[str, int] = {}
    for document in found:
        language = document.language or "text"
        size = len(document.text.encode())
        if size and sizes.get(language, 0) + size <= limit:
            groups.setdefault(language, []).append(document)
            sizes[language] = sizes.get(language, 0) + size
    return {language: groups[language] for language in sorted(groups) if sizes[language] >= 100_000}


def vecloom_tool(counter: TokenCounter, budget: int) -> Tool:
    chunker = Chunker(counter, budget)

    def run(document: Document) -> list[Piece]:
        chunks = chunker.chunk(document).chunks
        return [Piece(chunk.text, chunk.start_byte, chunk.end_byte, chunk.header) for chunk in chunks]

    return run


def chonkie_tool(tokenizer: Path, room: int, language: str) -> Tool:
    """chonkie's CodeChunker, sized by the same tokenizer."""
    from tokenizers import Tokenizer

    sized = Tokenizer.from_file(str(tokenizer))
    sized.no_truncation()
    sized.no_padding()
    code_chunker = importlib.import_module("chonkie").CodeChunker
    chunker = code_chunker(tokenizer=sized, chunk_size=room, language=language)

    def run(document: Document) -> list[Piece]:
        return located(document.text, [chunk.text for chunk in chunker.chunk(document.text)])

    return run


def splitter_tool(tokenizer: Path, room: int, language: str) -> Tool:
    """semantic-text-splitter's CodeSplitter (MarkdownSplitter for Markdown), sized by the same tokenizer."""
    from tokenizers import Tokenizer

    library = importlib.import_module("semantic_text_splitter")
    sized = Tokenizer.from_file(str(tokenizer))
    sized.no_truncation()
    sized.no_padding()
    if language == "markdown":
        splitter = library.MarkdownSplitter.from_huggingface_tokenizer(sized, room, trim=False)
    else:
        grammar: Any = importlib.import_module(f"tree_sitter_{language}").language()
        splitter = library.CodeSplitter.from_huggingface_tokenizer(grammar, sized, room, trim=False)
    return lambda document: located(document.text, splitter.chunks(document.text))


def semble_tool(language: str) -> Tool:
    """semble's chunks of 750 characters."""
    chunk_source = importlib.import_module("semble.chunking").chunk_source

    def run(document: Document) -> list[Piece]:
        chunks = chunk_source(document.text, document.path, language)
        return located(document.text, [chunk.content for chunk in chunks])

    return run


def window_tool(document: Document, lines: int = 50) -> list[Piece]:
    """Windows of 50 lines, the baseline of several code searches."""
    split = document.text.splitlines(keepends=True)
    return located(document.text, ["".join(split[i : i + lines]) for i in range(0, len(split), lines)])


def located(text: str, pieces: Sequence[str]) -> list[Piece]:
    """Where pieces that are slices of a text, in order, lie in its bytes."""
    found = []
    position = offset = 0
    for piece in pieces:
        at = text.find(piece, position)
        if at < 0:
            found.append(Piece(piece, None, None))
            continue
        offset += len(text[position:at].encode())
        size = len(piece.encode())
        found.append(Piece(piece, offset, offset + size))
        position, offset = at + len(piece), offset + size
    return found


def functions(document: Document) -> list[tuple[int, int]]:
    """Start and end byte of every function, by the language's own grammar."""
    kinds = FUNCTIONS.get(document.language or "", set())
    if not kinds:
        return []
    found = []
    pending = [parse(document.text.encode(), document.language or "")]
    while pending:
        node = pending.pop()
        if node.type in kinds:
            found.append((node.start_byte, node.end_byte))
        pending += node.named_children
    return found


def cut_functions(
    document: Document, pieces: Sequence[Piece], counter: TokenCounter, room: int
) -> tuple[int, int]:
    """Functions that fit a chunk, and how many of them lie in more than one."""
    spans = [(piece.start, piece.end, piece) for piece in pieces if piece.start is not None]
    spots = functions(document)
    data = document.text.encode()
    counts = counter.counts([data[start:end].decode() for start, end in spots])
    fit = cut = 0
    for (start, end), tokens in zip(spots, counts, strict=True):
        first = next((p for s, e, p in spans if s is not None and e is not None and s <= start < e), None)
        if first is None or tokens + counter.counts([first.header])[0] > room:
            continue
        fit += 1
        cut += not (first.end is not None and first.end >= end)
    return fit, cut


def measured(tool: Tool, corpus: Sequence[Document], counter: TokenCounter, budget: int) -> dict[str, Any]:
    """One row: what a tool made of a corpus, and at what speed (of one CPU)."""
    tool(corpus[0])  # grammars and tokenizers are loaded here
    started = time.process_time()
    results = [tool(document) for document in corpus]
    seconds = time.process_time() - started
    size = sum(len(document.text.encode()) for document in corpus)
    room = budget - counter.specials
    chunks = over = sized = tiny = fit = cut = tokens = 0
    exact = True
    for document, pieces in zip(corpus, results, strict=True):
        counts = counter.counts([piece.text for piece in pieces])
        encoded = counter.counts([piece.header + piece.text for piece in pieces])
        chunks += len(pieces)
        tokens += sum(counts)
        over += sum(count > room for count in encoded)
        if sum(counts) >= TINY:
            sized += len(counts)
            tiny += sum(count < TINY for count in counts)
        exact &= "".join(piece.text for piece in pieces) == document.text
        more_fit, more_cut = cut_functions(document, pieces, counter, room)
        fit, cut = fit + more_fit, cut + more_cut
    return {
        "MB": round(size / 1e6, 2),
        "MB/s": round(size / 1e6 / seconds, 2) if seconds else None,
        "chunks": chunks,
        "mean tokens": round(tokens / chunks),
        "over %": round(100 * over / chunks, 2),
        "tiny %": round(100 * tiny / max(sized, 1), 2),
        "lossless": exact,
        "functions": fit,
        "cutfit %": round(100 * cut / fit, 2) if fit else None,
    }


def peers(tokenizer: Path, room: int, language: str) -> Iterator[tuple[str, Tool]]:
    """The other tools that are installed and know the language."""
    makers: dict[str, Callable[[], Tool]] = {
        "chonkie": partial(chonkie_tool, tokenizer, room, language),
        "semantic-text-splitter": partial(splitter_tool, tokenizer, room, language),
        "semble": partial(semble_tool, language),
    }
    for name, make in makers.items():
        try:
            yield f"{name} {version(name)}", make()
        except _ABSENT as error:
            print(f"{name} left out for {language}: {type(error).__name__}: {error}", file=sys.stderr)
    yield "50 lines", window_tool


def compare(
    folders: Sequence[Path], tokenizer: Path, budget: int = 256, limit: int = 4_000_000, peer_limit: int = 0
) -> list[dict[str, Any]]:
    """One row for each language and tool; peers get at most ``peer_limit`` bytes a language (0: none)."""
    counter = WordPieceCounter(tokenizer)
    rows = []
    for language, corpus in by_language(documents(folders), limit).items():
        tools = [("vecloom", vecloom_tool(counter, budget), corpus)]
        if peer_limit:
            small = by_language(corpus, peer_limit).get(language, corpus[:1])
            room = budget - counter.specials
            tools += [(name, tool, small) for name, tool in peers(tokenizer, room, language)]
        for name, tool, given in tools:
            rows.append({"language": language, "tool": name} | measured(tool, given, counter, budget))
    return rows


def default_folders() -> list[Path]:
    """The standard library, and what pip has installed beside it."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: MiniLM's, pulled)")
    parser.add_argument("--budget", type=int, default=256)
    parser.add_argument("--megabytes", type=float, default=4, help="of each language")
    parser.add_argument(
        "--peer-megabytes", type=float, default=0.5, help="of each language; 0 leaves peers out"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tokenizer = given.tokenizer
    if tokenizer is None:
        config = load_config()
        tokenizer = Weights(config).folder(config.registry().find("minilm")) / "tokenizer.json"
    rows = compare(
        given.folders or default_folders(),
        tokenizer,
        given.budget,
        int(given.megabytes * 1e6),
        int(given.peer_megabytes * 1e6),
    )
    if given.json:
        for row in rows:
            print(json.dumps(row))
        return
    names = list(rows[0])
    print(" | ".join(names))
    for row in rows:
        print(" | ".join(str(row[name]) for name in names))


if __name__ == "__main__":
    main()
