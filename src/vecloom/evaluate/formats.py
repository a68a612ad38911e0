"""Files of judged queries, recognised by what is in them.

FOLDER/queries.jsonl, qrels/*.tsv       BEIR (https://github.com/beir-cellar/beir/wiki)
FOLDER/queries.json                     [{"query", "category", "targets": [{"path", "start", "end"}]}]
FILE                                    the same, JSON Lines of such objects or of single targets, or CSV
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vecloom.errors import JudgmentsError, UsageError
from vecloom.evaluate.beir import read_beir
from vecloom.evaluate.judged import MOST_GAIN, Judged, JudgedQuery, Target, prepared
from vecloom.sources.text import valid

_GAINS = ("gain", "relevance")

#: Bytes of a file, and the number of a line, at the most.
_MOST_BYTES, _MOST_LINE = 256 << 20, 1 << 31

_COLUMNS = frozenset({"query", "path", "start", "end", "category", "id", "source", *_GAINS})
_WANTED = (
    "give a BEIR folder, JSON or JSON Lines of {query, targets}, or a CSV with the columns query and path"
)


def read_judged(path: Path) -> Judged:
    """The judged queries of a file or folder.

    Raises:
        UsageError: there is no such file, or a folder that holds none.
        JudgmentsError: the file is broken; the message tells the line.
    """
    if path.is_dir():
        if (path / "qrels").is_dir() and (path / "queries.jsonl").is_file():
            return read_beir(path, None)
        if (path / "queries.json").is_file():
            return _read_file(path / "queries.json")
        raise UsageError(
            f"{path} holds no judged queries (queries.json, or queries.jsonl and qrels/); "
            f"to judge a tree by its own docstrings: --from-docstrings"
        )
    if not path.is_file():
        raise UsageError(f"there are no judged queries at {path}; {_WANTED}")
    if path.suffix == ".tsv" and path.parent.name == "qrels":
        return read_beir(path.parent.parent, path)
    return _read_file(path)


def text_of(path: Path) -> str:
    """A file's text; UTF-8, a byte order mark left out.

    Raises:
        JudgmentsError: it is something else.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise JudgmentsError(f"{path} has {size >> 20} MiB; give at most {_MOST_BYTES >> 20} MiB of queries")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JudgmentsError(f"{path}, line {line}: not UTF-8; save it as UTF-8") from None


def _read_file(path: Path) -> Judged:
    text = text_of(path)
    begin = text.lstrip()[:1]
    if not begin:
        raise JudgmentsError(f"{path} is empty; {_WANTED}")
    rows = (
        _json_rows(path, text)
        if begin == "["
        else _jsonl_rows(path, text)
        if begin == "{"
        else _csv_rows(path, text)
    )
    return prepared(str(path), _queries(rows))


@dataclass(frozen=True, slots=True)
class _Row:
    """One object or line of a file; ``where`` names it in a message."""

    where: str
    values: Mapping[str, Any]

    def wrong(self, what: str, then: str) -> JudgmentsError:
        """The error that says what is wrong here, and what to do."""
        return JudgmentsError(f"{self.where}: {what}; {then}")


def _json_rows(path: Path, text: str) -> Iterator[_Row]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise JudgmentsError(f"{path}, line {line}: not JSON ({_short(error)}); mend it there") from None
    for number, item in enumerate(items, 1):
        yield _object(f"{path}, query {number}", item)


def _jsonl_rows(path: Path, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise JudgmentsError(
                f"{where}: not JSON ({_short(error)}); one object a line is wanted"
            ) from None
        yield _object(where, item)


def _object(where: str, item: object) -> _Row:
    if not isinstance(item, dict):
        raise JudgmentsError(f"{where}: {_shown(item)} is no object; {_WANTED}")
    row = _Row(where, item)
    if "query" not in item:
        beir = "_id" in item and "text" in item
        raise row.wrong(
            "no query", "name the folder that holds queries.jsonl and qrels/" if beir else _WANTED
        )
    return row


def _csv_rows(path: Path, text: str) -> Iterator[_Row]:
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader)]
        if not {"query", "path"} <= set(names):
            raise JudgmentsError(f"{path}, line 1: no columns query and path in {_shown(head)}; {_WANTED}")
        before = reader.line_num
        for cells in reader:
            where, before = f"{path}, line {before + 1}", reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names):
                raise JudgmentsError(
                    f"{where}: {len(cells)} cells under {len(names)} columns; put quotes around what holds "
                    f"{delimiter!r}"
                )
            pairs = zip(names, cells, strict=False)
            yield _Row(
                where, {name: cell for name, cell in pairs if name in _COLUMNS and (cell or name == "query")}
            )
    except csv.Error as error:
        raise JudgmentsError(f"{path}, line {reader.line_num}: no CSV ({error}); mend it there") from None


@dataclass(slots=True)
class _Query:
    """A query of which further targets may come."""

    text: str
    category: str = ""
    targets: list[Target] = field(default_factory=list)


def _queries(rows: Iterable[_Row]) -> list[JudgedQuery]:
    """Rows with targets are a query each; rows of single targets belong to one by its id, else its text."""
    done: dict[tuple[str, str], _Query] = {}  # by the id that is given, or the number of a row without one
    singles: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        text, values = row.values["query"], row.values
        if not isinstance(text, str):
            raise row.wrong(f"the query {_shown(text)} is no text", "put quotes around it")
        given = _text(row, "id")
        if "targets" in values:
            if not isinstance(values["targets"], list):
                raise row.wrong("targets is no list", 'write "targets": [{"path": ...}]')
            key = (given, "" if given else f"{number}")
            if key in done:
                raise row.wrong(f"the id {given!r} comes twice", "give each query its own")
            targets = [_target(row, item) for item in values["targets"]]
        else:
            key = (given, "" if given else singles.setdefault(text, f"{number}"))
            targets = [_target(row, values)]
        text = valid(text)
        query = done.setdefault(key, _Query(text))
        if query.text != text:
            raise row.wrong(
                f"the id {given!r} has two queries, {_shown(query.text)} before", "give each its own"
            )
        query.category = query.category or _text(row, "category")
        query.targets += targets
    return [
        JudgedQuery(given or number, one.text, one.category, tuple(one.targets))
        for (given, number), one in done.items()
    ]


def _text(row: _Row, name: str) -> str:
    value = row.values.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise row.wrong(f"{name} is {_shown(value)}", "give it as a text")
    return valid(value.strip())


def _target(row: _Row, item: object) -> Target:
    if isinstance(item, str):
        item = {"path": item}
    if not isinstance(item, Mapping):
        raise row.wrong(f"the target {_shown(item)} is no object", 'write {"path": ...}')
    path = item.get("path")
    if not isinstance(path, str) or not path.strip():
        raise row.wrong("a target without a path", "name the file as the index does, relative to its root")
    start, end = _line(row, item, "start"), _line(row, item, "end")
    if start is None and end is not None:
        raise row.wrong(f"an end ({end}) without a start", "give both, or neither for a whole file")
    if start is not None and end is None:
        end = start
    if start is not None and end is not None and not 1 <= start <= end:
        raise row.wrong(f"lines {start} to {end}", "lines count from 1, and the end is not before the start")
    source = None if item.get("source") == "" else item.get("source")
    if source is not None and not isinstance(source, str):
        raise row.wrong(f"the source {_shown(source)} is no text", "give the name of a source of the index")
    source = None if source is None else valid(source)
    return Target(valid(path.strip().removeprefix("./")), start, end, _gain(row, item), source)


def _line(row: _Row, item: Mapping[str, Any], name: str) -> int | None:
    value = item.get(name)
    if value is None or value == "":
        return None
    number = _number(value)
    if number is None or number != int(number) or abs(number) > _MOST_LINE:
        raise row.wrong(f"{name} is {_shown(value)}", "give the number of a line")
    return int(number)


def _gain(row: _Row, item: Mapping[str, Any]) -> float:
    for name in _GAINS:
        if item.get(name) not in (None, ""):
            number = _number(item[name])
            if number is None or not 0 <= number <= MOST_GAIN:
                raise row.wrong(
                    f"{name} is {_shown(item[name])}", f"give a number from 0 (not relevant) to {MOST_GAIN:,}"
                )
            return number
    return 1.0


def _number(value: object) -> float | None:
    """A finite number, written as one or as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    try:
        said = repr(value)
    except RecursionError:  # json can go a little deeper
        said = type(value).__name__
    return said if len(said) <= 60 else f"{said[:59]}…"


def _short(error: BaseException) -> str:
    return getattr(error, "msg", None) or type(error).__name__
