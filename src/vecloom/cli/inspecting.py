"""``vecloom status``, ``vecloom chunk``, ``vecloom doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vecloom.cli.options import (
    CollectionOption,
    IndexOption,
    JsonOption,
    ModelsOption,
    OverlapOption,
    TokensOption,
    names_of,
    open_index,
)


def status(
    *, index: IndexOption = None, collection: CollectionOption = None, json: JsonOption = False
) -> None:
    """What an index holds, which legs are complete, and who is writing to it."""
    from dataclasses import asdict

    from vecloom.cli.output import one_line, say, write, write_json

    with open_index(index, collection) as opened:
        found = opened.status()
        if opened.advice:
            say(opened.advice)
    if json:
        write_json(asdict(found))
        return
    size = "" if found.bytes is None else f", {found.bytes / 1e6:,.1f} MB"
    write(f"{one_line(found.folder)}: {found.points:,} chunks{size}")
    write(f"chunks: up to {found.chunk_tokens} tokens, overlap {found.overlap}")
    for name, (root, chunks) in found.sources.items():
        state = ", not read to the end" if name in found.unfinished else ""
        where = f" of {one_line(root)}" if root else ""
        write(f"source {one_line(name)}: {chunks:,} chunks{where}{state}")
        if name in found.absent:
            again = f"vecloom index {one_line(root or 'PATH')}"
            write(
                f"  its files are gone with their root: their chunks are kept, and hidden from search; bring "
                f"the tree back and run {again}, or delete them: {again} --yes"
            )
    for (name, points), (model, run) in zip(found.vectors.items(), found.runs.items(), strict=True):
        share = "" if points == found.points else f" of {found.points:,}, {points / found.points:.0%}"
        write(f"vector {name}: {points:,}{share} ({model}: {run})")
    for name, length in found.avg_len.items():
        write(f"average length: {length:,.2f} words ({name})")
    if found.task is not None:
        write(f"task: {found.task}")
    idle = "none; vecloom index goes on" if found.unfinished or found.incomplete else "none"
    write(f"writer: {one_line(found.writer) or idle}")


def chunk(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", readable=False, help="Folders or files.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", readable=False, help="JSON Lines of the chunks (default: stdout)."
        ),
    ] = None,
    models: ModelsOption = None,
    chunk_tokens: TokensOption = None,
    overlap: OverlapOption = None,
) -> None:
    """Cut files into chunks, as indexing would, and write them as JSON Lines.

    A line: path, start_line, end_line, start_byte, end_byte, breadcrumb, kind, language, text.
    """
    import sys
    from contextlib import nullcontext

    from vecloom.cli.output import counted_skips, missing_extras, say, write_json
    from vecloom.config import load_config
    from vecloom.encoders.backends import How
    from vecloom.recipe import Asked
    from vecloom.sources import Skip
    from vecloom.standalone import chunk_trees

    nowhere = How(precision="fp32", device="cpu")  # only the tokenizers are needed
    asked = Asked(tuple(names_of(models)), chunk_tokens, overlap, nowhere)
    found = chunk_trees(paths, asked, load_config())
    documents = chunks = 0
    skips = []
    target = out.open("w", encoding="utf-8", newline="\n") if out else nullcontext(sys.stdout)
    with target as file:
        for one in found:
            if isinstance(one, Skip):
                skips.append(one)
                continue
            document = one.document
            documents += 1
            for piece in one.chunks:
                chunks += 1
                record = {
                    "path": document.path,
                    "start_line": piece.start_line,
                    "end_line": piece.end_line,
                    "start_byte": piece.start_byte,
                    "end_byte": piece.end_byte,
                    "breadcrumb": piece.breadcrumb,
                    "kind": document.kind,
                    "language": document.language or "",
                    "text": piece.text,
                }
                write_json(record, file)
    say(f"{documents:,} files, {chunks:,} chunks{f'; skipped: {counted_skips(skips)}' if skips else ''}")
    for hint in missing_extras(skips):
        say(hint)


def doctor(*, json: JsonOption = False) -> None:
    """Check this machine: versions, folders, weights, and what to do about what is missing.

    Exits with 1 where indexing with the default models would not work.
    """
    from vecloom.cli.output import write, write_json
    from vecloom.doctor import examine

    findings = examine()
    for finding in findings:
        if json:
            record: dict[str, Any] = {"check": finding.check, "ok": finding.ok, "detail": finding.detail}
            write_json(record)
        else:
            write(f"{'ok  ' if finding.ok else 'FAIL'} {finding.check}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
