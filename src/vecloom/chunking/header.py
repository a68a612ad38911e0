"""The context header: the line or two that precede a chunk's text when it is encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vecloom.types import Document, TokenCounter

SEPARATOR = " > "
# More of a title than this says nothing, and every chunk would repeat it.
_MAX_TITLE = 500
_CUT = "…"


def join_breadcrumb(path: Sequence[str]) -> str:
    """A symbol or heading path as one string; its elements are single lines, empty ones are left out."""
    return SEPARATOR.join(filter(None, path))


def clean_line(text: str) -> str:
    """Text as one line that any tokenizer takes: white space as single spaces, lone surrogates as "?"."""
    line = " ".join(text.split())
    return line if line.isascii() else line.encode("utf-8", "replace").decode()


def opens_with(header: str, path: str) -> bool:
    """Whether a header begins with this path, or with what was left of it."""
    line = header.partition("\n")[0].removeprefix(_CUT).removeprefix("/")
    return bool(line) and clean_line(path).endswith(line)


def header_allowance(budget: int) -> int:
    """How many tokens a header may take: a quarter of the chunk budget."""
    return budget // 4


def context_header(path: str, breadcrumb: str, budget: int, counter: TokenCounter) -> str:
    r"""The header of a chunk: a line with the path, a line with the breadcrumb, each where not empty.

    It ends with "\n" unless it is empty, takes at most a quarter of ``budget`` tokens, and depends on nothing
    but its arguments. Where both do not fit, the path keeps its right end (cut at a separator, else anywhere)
    within half of the allowance or what the breadcrumb leaves, and the breadcrumb its innermost elements.
    """
    path = clean_line(path)
    header = _lines(path, breadcrumb)
    allowance = header_allowance(budget)

    def fits(text: str, limit: int) -> bool:
        return counter.counts([text])[0] <= limit

    if fits(header, allowance):
        return header
    half = allowance if not breadcrumb else allowance // 2
    crumb_line = _shorten(breadcrumb, SEPARATOR, lambda text: fits(_lines("", text), allowance - half))
    path_line = _shorten(path, "/", lambda text: fits(_lines(text, crumb_line), allowance))
    crumb_line = _shorten(breadcrumb, SEPARATOR, lambda text: fits(_lines(path_line, text), allowance))
    return _lines(path_line, crumb_line)


def _lines(path: str, breadcrumb: str) -> str:
    return (path + "\n" if path else "") + (breadcrumb + "\n" if breadcrumb else "")


def _shorten(text: str, separator: str, fits: Callable[[str], bool]) -> str:
    """The longest right end of ``text`` that fits: cut behind a separator if one serves, else anywhere."""
    if fits(text):
        return text
    pieces = text.split(separator)
    kept = _most(len(pieces) - 1, lambda count: fits(_CUT + separator + separator.join(pieces[-count:])))
    if kept:
        return _CUT + separator + separator.join(pieces[-kept:])
    last = pieces[-1]
    kept = _most(len(last), lambda count: fits(_CUT + last[-count:]))
    return _CUT + last[-kept:] if kept else ""


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``limit`` that fits, by bisection; 0 where none was found to."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


class DocumentHeaders:
    """The headers of one document's chunks, by symbol or heading path (title left out)."""

    def __init__(self, document: Document, budget: int, counter: TokenCounter) -> None:
        self._path = clean_line(document.path) if document.path_in_header else ""
        self._title = (clean_line(document.title)[:_MAX_TITLE],)
        self._budget = budget
        self._counter = counter
        self._allowance = header_allowance(budget)
        self._path_tokens = counter.counts([_lines(self._path, "")])[0]
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}
        self._reserves: dict[tuple[str, ...], int] = {}

    def of(self, path: tuple[str, ...]) -> tuple[str, str]:
        """The breadcrumb (title and path as one string) and the context header of a chunk of that path."""
        known = self._known.get(path)
        if known is None:
            breadcrumb = join_breadcrumb(self._title + path)
            if self._counter.additive and self._reserves.get(path, self._allowance) < self._allowance:
                header = _lines(self._path, breadcrumb)
            else:
                header = context_header(self._path, breadcrumb, self._budget, self._counter)
            known = self._known[path] = (breadcrumb, header)
        return known

    def reserves(self, paths: Sequence[tuple[str, ...]]) -> list[int]:
        """For each path, the tokens to keep free for its header or that of any path it lies under.

        At least what the header takes where the counter is additive; a guess, to be checked, where not.
        """
        lines = [_lines("", join_breadcrumb(self._title + path)) for path in paths]
        counts = [min(self._path_tokens + tokens, self._allowance) for tokens in self._counter.counts(lines)]
        self._reserves.update(zip(paths, counts, strict=True))
        return counts
