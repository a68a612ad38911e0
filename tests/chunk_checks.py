"""What holds for the chunks of any document, and short ways to make one."""

from __future__ import annotations

from vecloom.chunking import Chunked, Chunker
from vecloom.types import Document, Kind, Part, TokenCounter


def document(
    text: str,
    language: str | None = None,
    kind: Kind = "code",
    path: str = "pkg/module.x",
    title: str = "",
    parts: tuple[Part, ...] = (),
) -> Document:
    return Document("tree", path, text, kind, language, "0" * 64, title=title, parts=parts)


def chunk_and_check(doc: Document, counter: TokenCounter, budget: int, overlap: int = 0) -> Chunked:
    """The document's chunks, once they are known to be exact slices within the budget that restore it."""
    chunked = Chunker(counter, budget, overlap).chunk(doc)
    data = doc.text.encode()
    covered = 0
    for chunk in chunked.chunks:
        assert chunk.text
        assert data[chunk.start_byte : chunk.end_byte].decode() == chunk.text
        assert chunk.start_line == data.count(b"\n", 0, chunk.start_byte) + 1
        assert chunk.end_line == data.count(b"\n", 0, chunk.end_byte - 1) + 1
        assert chunk.start_byte == covered if not overlap else chunk.start_byte <= covered
        assert chunk.end_byte > covered
        covered = chunk.end_byte
        assert not chunk.header or chunk.header.endswith("\n")
        assert counter.counts([chunk.header])[0] <= budget // 4
        tokens = counter.counts([chunk.encoded_text])[0] + counter.specials
        assert tokens <= budget or len(chunk.text) == 1
    assert covered == len(data)
    if not overlap:
        assert "".join(chunk.text for chunk in chunked.chunks) == doc.text
    return chunked
