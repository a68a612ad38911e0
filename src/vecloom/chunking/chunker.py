"""Documents to chunks: exact slices that, header and special tokens included, keep within a token budget."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vecloom.chunking.header import DocumentHeaders, clean_line, header_allowance
from vecloom.chunking.outline import Path
from vecloom.chunking.pack import Capacity, Units, pack, path_of, units_of
from vecloom.chunking.readers import outline_document, outline_lines
from vecloom.chunking.rows import Rows, cut_near
from vecloom.errors import UsageError
from vecloom.types import Chunk, Document, TokenCounter

#: Raised whenever the same document and settings would give other chunks or headers than before.
CHUNKER_VERSION = 3
#: Below this a header and a line of text no longer fit.
MIN_BUDGET = 32


@dataclass(frozen=True, slots=True)
class Chunked:
    """The chunks of a document. ``fallback`` says why lines were used in place of a parser, if they were."""

    chunks: tuple[Chunk, ...]
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class _Span:
    """A chunk in the making: the text's characters start..end, of which those before ``own`` are overlap.

    ``sure`` is False where the sum of its lines' counts may differ from its own.
    """

    start: int
    own: int
    end: int
    path: Path
    sure: bool


class Chunker:
    """Cuts documents into chunks of at most ``budget`` tokens, special tokens and header included.

    With ``overlap`` 0 the texts of a document's chunks, joined, are its text. Otherwise a chunk begins with
    up to ``overlap`` tokens of whole lines that the chunk before it ends with. A document without text has no
    chunks; one of white space alone has one or more, which give no useful vector. The budget holds but for a
    single character that alone exceeds it.

    Raises:
        UsageError: a budget below 32, or an overlap of more than half of it.
    """

    def __init__(self, counter: TokenCounter, budget: int, overlap: int = 0) -> None:
        if budget < MIN_BUDGET:
            raise UsageError(f"chunks of {budget} tokens are too small; ask for {MIN_BUDGET} or more")
        if not 0 <= overlap <= budget // 2:
            raise UsageError(f"an overlap of {overlap} tokens does not suit chunks of {budget}; at most half")
        self.counter = counter
        self.budget = budget
        self.overlap = overlap

    def chunk(self, document: Document, by_lines: str | None = None) -> Chunked:
        """The document's chunks in order. Equal documents give equal chunks.

        ``by_lines``: why the document's own parser must not be used; it is then cut between lines.
        """
        if not document.text:
            return Chunked(())
        rows = Rows(document.text, self.counter)
        headers = DocumentHeaders(document, self.budget, self.counter)
        most = self.budget - self.counter.specials - self.overlap
        capacity = Capacity(most, most - header_allowance(self.budget), headers.reserves)
        sums = rows.sums

        def fits(first: int, last: int, path: Path) -> bool:
            return capacity.holds(sums[last + 1] - sums[first], path)

        if by_lines is None:
            outline, fallback = outline_document(document, rows, fits)
        else:
            outline, fallback = outline_lines(rows, fits), by_lines
        units = units_of(rows, outline, capacity, self.counter)
        spans = self._within_budget(rows.text, headers, self._spans(rows, units, capacity))
        defined = [] if document.kind == "data" else outline.defined  # every key of a table has a name
        return Chunked(tuple(_chunks(rows, headers, spans, sorted(defined))), fallback)

    def _spans(self, rows: Rows, units: Units, capacity: Capacity) -> list[_Span]:
        starts = pack(units, capacity)
        offsets = [*units.starts, len(rows.text)]
        spans: list[_Span] = []
        for start, end in zip(starts, [*starts[1:], len(units)], strict=True):
            own = offsets[start]
            first = self._overlap_start(rows, own, spans[-1].own) if self.overlap and spans else own
            path = path_of(units.paths[start:end], units.tokens[start:end])
            sure = self.counter.additive and units.broken.isdisjoint(range(start, end))
            spans.append(_Span(first, own, offsets[end], path, sure))
        return spans

    def _overlap_start(self, rows: Rows, own: int, floor: int) -> int:
        """Where a chunk with own text from ``own`` on begins: whole lines earlier, none before ``floor``."""
        row = bisect_left(rows.starts, own)
        if rows.starts[row] != own:
            return own  # within a line
        before = row
        while (
            before
            and rows.starts[before - 1] >= floor
            and rows.sums[row] - rows.sums[before - 1] <= self.overlap
        ):
            before -= 1
        return rows.starts[before]

    def _within_budget(self, text: str, headers: DocumentHeaders, spans: list[_Span]) -> list[_Span]:
        """The spans, those cut further that turn out too long when counted as they will be encoded."""
        unsure = [span for span in spans if not span.sure]
        done = [span for span in spans if span.sure]
        limit = self.budget - self.counter.specials
        while unsure:
            texts = [headers.of(span.path)[1] + text[span.start : span.end] for span in unsure]
            too_long: list[_Span] = []
            for span, tokens in zip(unsure, self.counter.counts(texts), strict=True):
                fine = tokens <= limit or span.end - span.start == 1
                (done if fine else too_long).append(span)
            unsure = [half for span in too_long for half in _halves(text, span)]
        return sorted(done, key=lambda span: span.own)


def _halves(text: str, span: _Span) -> list[_Span]:
    """A span without its overlap, or in two: at the last line end before its middle, else within a line."""
    start, end = span.own, span.end
    if span.start < start:
        return [_Span(start, start, end, span.path, sure=False)]
    middle = (start + end) // 2
    at = text.rfind("\n", start, middle) + 1
    if at <= start:
        at = start + cut_near(text[start:end], middle - start)
    return [_Span(start, start, at, span.path, sure=False), _Span(at, at, end, span.path, sure=False)]


def _chunks(
    rows: Rows, headers: DocumentHeaders, spans: Iterable[_Span], defined: Sequence[tuple[int, str]]
) -> Iterable[Chunk]:
    text, starts = rows.text, rows.starts
    ascii_only = text.isascii()
    position = offset = 0  # a place in characters, and the same in bytes
    known = 0  # definitions of earlier chunks
    for span in spans:
        own = text[span.own : span.end]
        offset += span.own - position if ascii_only else len(text[position : span.own].encode())
        size = len(own) if ascii_only else len(own.encode())
        repeated = text[span.start : span.own]
        breadcrumb, header = headers.of(span.path)
        first = known
        while known < len(defined) and starts[defined[known][0]] < span.end:
            known += 1
        yield Chunk(
            text=repeated + own,
            start_line=bisect_right(starts, span.start),
            end_line=bisect_right(starts, span.end - 1),
            start_byte=offset - len(repeated.encode()) if repeated else offset,
            end_byte=offset + size,
            breadcrumb=breadcrumb,
            header=header,
            defines="\n".join(dict.fromkeys(clean_line(name) for _, name in defined[first:known])),
        )
        position, offset = span.end, offset + size
