"""BEIR: queries.jsonl, and judgments as qrels/SPLIT.tsv (query id, corpus id, grade)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vecloom.errors import JudgmentsError, UsageError
from vecloom.evaluate.judged import MOST_GAIN, Judged, JudgedQuery, Target, prepared, problem
from vecloom.sources.text import valid

_SPLIT = "test.tsv"

#: Bytes of a line at the most.
_MOST_LINE = 16 << 20


def read_beir(folder: Path, qrels: Path | None) -> Judged:
    """The queries that a split judges: ``qrels``, else test.tsv, else the only one.

    A target's path is the corpus id: ``vecloom index corpus.jsonl`` makes one document a line of that path.

    Raises:
        UsageError: several splits and none is called test, or none at all.
        JudgmentsError: a file is broken; the message tells the line.
    """
    qrels = qrels or _split(folder / "qrels")
    if not (folder / "queries.jsonl").is_file():
        raise UsageError(f"{folder} has no queries.jsonl to these judgments; put it there")
    judged: dict[str, list[Target]] = {}
    for query, path, gain in _judgments(qrels):
        judged.setdefault(query, []).append(Target(path, gain=gain))
    texts = dict(_texts(folder / "queries.jsonl"))
    queries = [JudgedQuery(key, texts[key], "", tuple(judged[key])) for key in texts if key in judged]
    unknown = [key for key in judged if key not in texts]
    if not queries:
        raise JudgmentsError(
            f"{qrels} judges no query of {folder / 'queries.jsonl'}; its ids look like "
            f"{next(iter(judged), 'none')!r}, those like {next(iter(texts), 'none')!r}"
        )
    said = problem(
        "unknown_queries", unknown, "judged queries that queries.jsonl does not have, left out: {}"
    )
    return prepared(str(folder if qrels.name == _SPLIT else qrels), queries, said)


def _split(folder: Path) -> Path:
    found = sorted(folder.glob("*.tsv"))
    for path in found:
        if path.name == _SPLIT or len(found) == 1:
            return path
    if not found:
        raise UsageError(f"{folder} holds no .tsv of judgments; put test.tsv there")
    names = ", ".join(path.name for path in found)
    raise UsageError(f"{folder} holds several splits ({names}); name one: vecloom eval {found[0]}")


def _judgments(path: Path) -> Iterator[tuple[str, str, float]]:
    for number, line in _lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) == 4:  # as TREC writes them: the second is an iteration that nobody uses
            cells = [cells[0], *cells[2:]]
        if len(cells) != 3:
            raise JudgmentsError(
                f"{path}, line {number}: {len(cells)} cells; a query id, a corpus id and a grade are wanted, "
                f"with tabs between"
            )
        try:
            gain = float(cells[2])
        except ValueError:
            if number == 1:  # the header
                continue
            raise JudgmentsError(
                f"{path}, line {number}: the grade {cells[2]!r:.40} is no number; mend it"
            ) from None
        if not -MOST_GAIN <= gain <= MOST_GAIN:
            raise JudgmentsError(
                f"{path}, line {number}: the grade is {cells[2]:.40}; give a number up to {MOST_GAIN:,}"
            )
        if not cells[0] or not cells[1]:
            raise JudgmentsError(f"{path}, line {number}: an empty id; a query id and a corpus id are wanted")
        yield valid(cells[0]), valid(cells[1]), gain


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            raise JudgmentsError(f"{where}: not JSON; one object a line is wanted") from None
        if not isinstance(item, dict) or "_id" not in item or not isinstance(item.get("text"), str):
            raise JudgmentsError(f'{where}: no "_id" and "text"; {{"_id": ..., "text": ...}} is wanted')
        if isinstance(item["_id"], bool) or not isinstance(item["_id"], str | int):
            raise JudgmentsError(f"{where}: the _id is of the type {type(item['_id']).__name__}; give a text")
        yield valid(str(item["_id"])), valid(item["text"])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank, read one by one.

    Raises:
        JudgmentsError: not UTF-8, or a line that is too long.
    """
    with path.open("rb") as file:
        for number, data in enumerate(iter(lambda: file.readline(_MOST_LINE + 1), b""), 1):
            if len(data) > _MOST_LINE:
                raise JudgmentsError(f"{path}, line {number}: longer than {_MOST_LINE >> 20} MiB; mend it")
            try:
                line = data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise JudgmentsError(f"{path}, line {number}: not UTF-8; save it as UTF-8") from None
            if line.strip():
                yield number, line
