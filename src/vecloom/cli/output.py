"""What the commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, TextIO

from vecloom.paths import printable as escaped
from vecloom.types import Hit

if TYPE_CHECKING:
    from vecloom.pipeline.report import IndexReport, Listener, Progress
    from vecloom.sources import Skip

#: Seconds between two progress lines where there is no terminal to draw a bar on.
LINE_SECONDS = 10.0

#: Lines of a chunk that the listing shows.
SHOWN_LINES = 6

#: What JSON may hold as it is and a terminal may obey: C1 controls, direction overrides, lone surrogates.
_OBEYED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_STEPS = {
    "measure": "measuring",
    "read": "reading",
    "encode": "encoding",
    "optimise": "optimising",
    "check": "checking",
    "load": "loading into",
    "export": "exporting",
    "search": "searching by",
}


def say(text: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(one_line(text) + "\n")


def write(text: str) -> None:
    """Result lines, on stdout."""
    sys.stdout.write(printable(text) + "\n")


def write_json(record: Mapping[str, Any], file: TextIO | None = None) -> None:
    r"""One object, one line, on stdout or in ``file``; all control characters are escaped (``\u001b``)."""
    target = file or sys.stdout
    said = json.dumps(record, ensure_ascii=(target.encoding or "utf-8").lower() != "utf-8")
    target.write(_OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", said) + "\n")


def escape_what_cannot_be_encoded() -> None:
    r"""Let stdout show ``\u2026`` where its encoding lacks a character, as stderr does anyway."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    r"""Text with control characters escaped (``\x1b``), so that no file name can drive a terminal."""
    return escaped(text, keep="\n\t")


def one_line(text: str) -> str:
    """`printable`, with line ends and tabs escaped too: for paths."""
    return escaped(text)


def duration(seconds: float) -> str:
    """A duration as a person writes it: ``0.4 s``, ``12 s``, ``3:20``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that draws a bar on a terminal, and writes a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}
        pace = Pace()

        def listen(event: Progress) -> None:
            described = one_line(pace.described(event, time.monotonic()))
            key = (event.step, event.detail)
            if key not in tasks:
                tasks[key] = bars.add_task("", total=event.total)
            bars.update(tasks[key], completed=event.done, total=event.total, description=described)

        yield listen


def _lines() -> Listener:
    pace = Pace()
    said: dict[tuple[str, str], float] = {}

    def listen(event: Progress) -> None:
        now = time.monotonic()
        described = pace.described(event, now)
        last = said.setdefault((event.step, event.detail), now)
        if now - last >= LINE_SECONDS:
            said[event.step, event.detail] = now
            say(described)

    return listen


class Pace:
    """Since when each step runs, and all models together: what their time left is reckoned from."""

    def __init__(self) -> None:
        self._started: dict[tuple[str, str], float] = {}
        self._first: float | None = None

    def described(self, event: Progress, now: float) -> str:
        """``encoding dense: 1,024 of 9,000 chunks, 21,000 tokens/s, 1:20 left (6:10 for all models)``."""
        elapsed = now - self._started.setdefault((event.step, event.detail), now)
        of = "" if event.total is None else f" of {event.total:,}"
        text = f"{_STEPS[event.step]} {event.detail}: {event.done:,}{of} {event.unit}"
        if event.tokens and elapsed:
            text += f", {event.tokens / elapsed:,.0f} tokens/s"
        share = event.share if event.share is not None else event.done / event.total if event.total else 0.0
        if share:
            text += f", {duration(elapsed * (1 - share) / share)} left"
        if event.whole is None:
            return text
        if self._first is None:
            self._first = now
        if event.whole and abs(event.whole - share) > 1e-9:  # else these models are all
            text += f" ({duration((now - self._first) * (1 - event.whole) / event.whole)} for all models)"
        return text


def hit_record(hit: Hit) -> dict[str, Any]:
    """A hit as ``--json`` gives it."""
    record = asdict(hit)
    return {name: said for name, said in record.items() if said is not None}


def list_hits(hits: Sequence[Hit], roots: Mapping[str, str]) -> None:
    """The listing for a person: ``path:start-end`` that terminals make clickable, then the first lines."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for hit in hits:
        head = Text(one_line(_shown_path(hit, roots)), style="bold cyan")
        head.append(f":{hit.start_line}-{hit.end_line}", style="cyan")
        if hit.breadcrumb:
            head.append(f"  {one_line(hit.breadcrumb)}", style="green")
        if hit.reranked is not None:
            head.append(f"  reranked {hit.reranked:.4f}", style="magenta")
        legs = " ".join(f"{name}#{leg.rank}" for name, leg in hit.legs.items())
        head.append(f"  {hit.score:.4f} {legs}", style="dim")
        console.print(head)
        if hit.explanation is not None:
            for line in explained(hit):
                console.print(Text(f"    {one_line(line)}", style="magenta"))
        lines = dedent(printable(hit.text)).strip("\n").splitlines()
        for line in lines[:SHOWN_LINES]:
            console.print(Text(f"    {line}"))
        if len(lines) > SHOWN_LINES:
            console.print(Text(f"    … {len(lines) - SHOWN_LINES} more lines", style="dim"))


def explained(hit: Hit) -> Iterator[str]:
    """Why a hit stands where it stands: a line for each leg that says something of it, one for the layers."""
    said = hit.explanation
    if said is None:
        return
    for name, share in said.shares.items():
        leg = hit.legs.get(name)
        place = f"#{leg.rank}, {leg.score:.4f}" if leg else "not among its hits"
        words = ", ".join(f"{term} {weight:.2f}" for term, weight in said.terms.get(name, {}).items())
        yield f"{name} {share:+.4f} ({place})" + (f": {words}" if words else "")
    if said.boosts:
        yield ", ".join(f"{layer} {value:+.4f}" for layer, value in said.boosts.items())


def _shown_path(hit: Hit, roots: Mapping[str, str]) -> str:
    """The hit's file as it can be opened from here: relative to the working folder where it lies below it."""
    root = roots.get(hit.source)
    if root is None:
        return hit.path
    path = Path(root)
    try:
        # A root that is gone was most likely a folder; one file as a root is called like its only document.
        if not path.is_file() and path.name != hit.path:
            path = path / hit.path
    except OSError:  # no path of this system
        return hit.path
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def tell_report(report: IndexReport, *, verbose: bool) -> None:
    """What an index run did, in a few lines on stderr."""
    from vecloom.chunking import CANNOT_UNPACK
    from vecloom.chunking.unpacking import HINT

    words = f"; searchable by words after {duration(report.sparse_seconds)}" if report.sparse_seconds else ""
    say(
        f"{report.files:,} files ({report.unchanged:,} unchanged, {report.gone:,} gone), "
        f"{report.points:,} chunks stored ({report.new:,} new, {report.deleted:,} deleted), "
        f"{duration(report.seconds)}{words}"
    )
    for name, texts in report.encoded.items():
        cut = report.cut[name]
        dropped = f"{cut.texts:,} cut, {cut.tokens:,} tokens dropped" if cut.texts else "none cut"
        say(f"  {name}: {texts:,} texts encoded, {dropped}")
    for source, absence in report.absent.items():
        say(f"  {absence.line(source)}")
    if report.unsealed:
        say(f"  no graph was built, searches take longer: {report.unsealed}")
    if report.reused:
        say(f"  {report.reused:,} vectors taken over from equal texts")
    listed = "" if verbose else " (--verbose lists them)"
    for reason, paths in sorted(report.fallbacks.items(), key=lambda item: -len(item[1])):
        files = "1 file" if len(paths) == 1 else f"{len(paths):,} files"
        say(f"  {files} chunked by lines: {reason}{listed}")
    if any(reason.startswith(CANNOT_UNPACK) for reason in report.fallbacks):
        say(f"  {HINT}")
    if report.notices:
        say(f"  not in UTF-8: {len(report.notices):,}{listed}")
    if report.skips:
        say(f"  skipped: {counted_skips(report.skips)}{listed}")
    for hint in missing_extras(report.skips):
        say(f"  {hint}")
    if verbose:
        for notice in report.notices:
            say(f"    {notice}")
        for reason, paths in report.fallbacks.items():
            for path in paths:
                say(f"    {path}: chunked by lines, {reason}")
        for skip in report.skips:
            say(f"    {skip.path}: {skip.reason}{f', {skip.detail}' if skip.detail else ''}")


def missing_extras(skips: Sequence[Skip]) -> list[str]:
    """What to install so that more can be read, each said once."""
    return sorted({skip.detail for skip in skips if skip.reason == "missing extra"})


def counted_skips(skips: Sequence[Skip]) -> str:
    """``2 binary, 1 too large``."""
    reasons = Counter(skip.reason for skip in skips)
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
