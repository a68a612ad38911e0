"""Judged queries: every format, everything that is wrong with one, and what is told instead of averaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judged_files import QUERIES, write_beir, write_queries
from vecloom.errors import JudgmentsError, UsageError
from vecloom.evaluate.formats import read_judged
from vecloom.evaluate.judged import Judged, JudgedQuery, Target, drawn, prepared
from vecloom.evaluate.matching import Holding

WANTED = {
    "weave a thread": ("symbol", (Target("src/loom.py", 1, 3),)),
    "retry the connection": ("idea", (Target("docs/guide.md"), Target("src/retry.py"))),
    "plants that dye wool": ("idea", (Target("docs/colours.md"),)),
}
CSV = """query,path,start,end,category
weave a thread,src/loom.py,1,3,symbol
retry the connection,docs/guide.md,,,idea
plants that dye wool,./docs/colours.md,,,idea
retry the connection,src/retry.py,,,idea
"""
LINES = """
{"query": "weave a thread", "category": "symbol", "path": "src/loom.py", "start": 1, "end": 3}
{"query": "retry the connection", "category": "idea", "path": "docs/guide.md", "start": null}
{"query": "retry the connection", "path": "src/retry.py"}
{"query": "plants that dye wool", "category": "idea", "targets": ["docs/colours.md"]}
"""


def found_in(judged: Judged) -> dict[str, tuple[str, tuple[Target, ...]]]:
    return {query.text: (query.category, query.targets) for query in judged.queries}


def counts(judged: Judged) -> dict[str, int]:
    return {one.key: one.count for one in judged.problems}


@pytest.mark.parametrize("form", ["json", "folder", "csv", "semicolons", "tabs", "bom", "crlf", "lines"])
def test_every_format_gives_the_same_queries(form: str, tmp_path: Path) -> None:
    path = tmp_path / "queries.json"
    if form in ("json", "folder"):
        write_queries(path)
    else:
        text = {
            "csv": CSV,
            "semicolons": CSV.replace(",", ";"),
            "tabs": CSV.replace(",", "\t"),
            "bom": "\ufeff" + CSV,
            "crlf": CSV.replace("\n", "\r\n"),
            "lines": LINES,
        }[form]
        path.write_bytes(text.encode())
    judged = read_judged(tmp_path if form == "folder" else path)
    assert found_in(judged) == WANTED
    assert judged.problems == ()


def test_gains_sources_and_quoted_cells_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text(
        'Query,Path,Relevance,Source,id\n"a, b\nand c",x.py,2,one,7\n'
        '"a, b\nand c",y.py,0.5,,7\n"a, b\nand c",z.py,0,,7\n'
    )
    (query,) = read_judged(path).queries
    assert query == JudgedQuery(
        "7", "a, b\nand c", "", (Target("x.py", gain=2.0, source="one"), Target("y.py", gain=0.5))
    )


def test_rows_without_ids_beside_numbers_as_ids(tmp_path: Path) -> None:
    (tmp_path / "judged.csv").write_text("query,path,id\none,a.py,2\ntwo,b.py,\n", "utf-8")
    queries = read_judged(tmp_path / "judged.csv").queries
    assert [(query.text, query.targets[0].path) for query in queries] == [("one", "a.py"), ("two", "b.py")]


def test_beir_takes_the_queries_that_its_split_judges(tmp_path: Path) -> None:
    texts = {"1": "first", "2": "second", "3": "not judged"}
    body = "query-id\tcorpus-id\tscore\n1\td1\t2\n1\td2\t0\n2\td3\t1\n2\td9\t-1\n"
    folder = write_beir(tmp_path / "set", texts, {"test": body, "dev": "3\td4\t1\n"})
    judged = read_judged(folder)
    assert [(q.id, q.text, q.targets) for q in judged.queries] == [
        ("1", "first", (Target("d1", gain=2.0),)),
        ("2", "second", (Target("d3"),)),
    ]
    assert judged.problems == ()
    (query,) = read_judged(folder / "qrels" / "dev.tsv").queries
    assert query.text == "not judged"


def test_beir_with_one_split_of_another_name_and_unknown_queries(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", {"1": "first"}, {"dev": "1\td1\t1\n8\td1\t1\n"})
    judged = read_judged(folder)
    assert [query.id for query in judged.queries] == ["1"]
    assert counts(judged) == {"unknown_queries": 1}


def test_beir_with_several_splits_and_none_called_test(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", {"1": "a"}, {"dev": "1\td\t1\n", "train": "1\td\t1\n"})
    with pytest.raises(UsageError, match=r"dev\.tsv, train\.tsv.*vecloom eval .*dev\.tsv"):
        read_judged(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[{]", "line 1: not JSON"),
        ('[\n{"query": "a"},\n{]', "line 3: not JSON"),
        ('{"query": "a", "path": "x"}\n{"query": ', "line 2: not JSON"),
        ('[{"text": "a"}]', "query 1: no query"),
        ('{"_id": "1", "text": "a"}', "name the folder that holds queries.jsonl"),
        ("[1]", "1 is no object"),
        ('[{"query": 5, "targets": []}]', "the query 5 is no text"),
        ('[{"query": "a", "targets": "x"}]', "targets is no list"),
        ('[{"query": "a", "targets": [7]}]', "the target 7 is no object"),
        ('[{"query": "a", "targets": [{"start": 1}]}]', "a target without a path"),
        ('[{"query": "a", "targets": [{"path": "x", "start": 5, "end": 2}]}]', "lines 5 to 2"),
        ('[{"query": "a", "targets": [{"path": "x", "start": 0}]}]', "lines 0 to 0"),
        ('[{"query": "a", "targets": [{"path": "x", "end": 2}]}]', "without a start"),
        ('[{"query": "a", "targets": [{"path": "x", "start": "two"}]}]', "start is 'two'"),
        ('[{"query": "a", "targets": [{"path": "x", "gain": -1}]}]', "gain is -1"),
        ('[{"query": "a", "targets": [{"path": "x", "gain": 1e999}]}]', "gain is inf"),
        (
            '[{"query": "a", "id": "1", "targets": []}, {"query": "b", "id": "1", "targets": []}]',
            "comes twice",
        ),
        ("question,file\na,b\n", "line 1: no columns query and path"),
        ("query,path\na,b\na,b,c\n", "line 3: 3 cells under 2 columns"),
        ("query,path,start\na,b,1\na,b,x\n", "line 3: start is 'x'"),
        ('query,path\n"a\nb",\n', "line 2: a target without a path"),
        ('query,path\n"a"b,c\n', "line 2: no CSV"),
        ("query,path,id\na,x,1\nb,y,1\n", "line 3: the id '1' has two queries"),
    ],
)
def test_a_broken_file_is_one_line_that_says_where(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "judged"
    path.write_text(text, "utf-8")
    with pytest.raises(JudgmentsError) as caught:
        read_judged(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_bytes(b"query,path\na,b\n\xff,c\n")
    with pytest.raises(JudgmentsError, match="line 3: not UTF-8"):
        read_judged(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("1\td1\n", "line 1: 2 cells"),
        ("1\td1\t1\n1\td2\tmuch\n", "line 2: the grade 'much'"),
        ("1\td1\tnan\n", "the grade is nan"),
        ("8\td1\t1\n", "judges no query"),
    ],
)
def test_broken_judgments_of_beir(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(JudgmentsError, match=said):
        read_judged(write_beir(tmp_path / "set", {"1": "a"}, {"test": body}))


def test_broken_queries_of_beir(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", {"1": "a"}, {"test": "1\td\t1\n"})
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "a"}\n{"_id": "2"}\n')
    with pytest.raises(JudgmentsError, match=r'queries\.jsonl, line 2: no "_id" and "text"'):
        read_judged(folder)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no judged queries at"):
        read_judged(tmp_path / "missing")
    with pytest.raises(UsageError, match="--from-docstrings"):
        read_judged(tmp_path)


def test_what_cannot_be_asked_or_comes_again_is_told() -> None:
    x, y = Target("x"), Target("y")
    judged = prepared(
        "made",
        [
            JudgedQuery("1", "one", "a", (x, y)),
            JudgedQuery("2", "  ", "", (x,)),
            JudgedQuery("3", "aimless", "", ()),
            JudgedQuery("4", "judged not relevant", "", (Target("x", gain=0.0),)),
            JudgedQuery("5", " one ", "b", (y, x)),
            JudgedQuery("6", "one", "", (x,)),
            JudgedQuery("7", "twice", "", (x, Target("x", gain=3.0), Target("x", 1, 2))),
        ],
    )
    assert [query.id for query in judged.queries] == ["1", "6", "7"]
    assert judged.queries[2].targets == (Target("x", gain=3.0), Target("x", 1, 2))
    assert counts(judged) == {
        "empty_queries": 1,
        "queries_without_targets": 2,
        "repeated_queries": 1,
        "queries_judged_otherwise": 1,
        "repeated_targets": 1,
    }
    assert all(str(one.count) in one.text and one.examples for one in judged.problems)


def test_what_the_index_does_not_hold_is_told() -> None:
    files = {("a", "x.py"): (3, 40), ("b", "x.py"): (1, 9), ("a", "y.py"): (1, 5)}
    targets = (
        Target("x.py"),
        Target("x.py", 39, 41, source="b"),
        Target("y.py", 5, 6),
        Target("y.py", 4, 5),
        Target("gone.py"),
        Target("y.py", source="b"),
    )
    queries = [JudgedQuery("1", "q", "", targets), JudgedQuery("2", "r", "", (Target("gone.py"),))]
    holding = Holding("index", files)
    told = {one.key: (one.count, one.examples) for one in holding.problems(prepared("made", queries))}
    assert told == {
        "missing_targets": (3, ("gone.py", "b/y.py", "gone.py")),
        "ambiguous_targets": (1, ("x.py",)),
        "lines_beyond_end": (2, ("b/x.py:39-41", "y.py:5-6")),
    }
    assert [holding.holds_any(query) for query in queries] == [True, False]


def test_judgments_of_something_else_are_an_error_that_shows_both_sides() -> None:
    judged = prepared("made", [JudgedQuery("1", "q", "", (Target("lib/x.py"),))])
    with pytest.raises(JudgmentsError, match=r"'lib/x\.py'.*'src/lib/x\.py'"):
        Holding("index", {("a", "src/lib/x.py"): (1, 1)}).problems(judged)
    with pytest.raises(JudgmentsError, match="holds nothing"):
        Holding("index", {}).problems(judged)
    with pytest.raises(JudgmentsError, match="no query with a target"):
        Holding("index", {("a", "x"): (1, 1)}).problems(prepared("made", []))


def test_a_draw_is_the_same_each_time_and_told(tmp_path: Path) -> None:
    many = [dict(QUERIES[0], query=f"question {number}") for number in range(50)]
    judged = read_judged(write_queries(tmp_path / "queries.json", many))
    some = drawn(judged, 10)
    assert some == drawn(judged, 10) and len(some.queries) == 10
    assert [q for q in judged.queries if q in some.queries] == list(some.queries)
    assert some.notes == ("10 of 50 queries, drawn by a fixed seed",)
    assert drawn(judged, None) == drawn(judged, 50) == judged


def rows(**changes: object) -> str:
    return json.dumps([{"query": "a", "targets": [{"path": "x.py", **changes}]}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "line 1: not JSON"),
        ('{"query": "a", "path": "x"}\n{"query": ' + "[" * 100_000, "line 2: not JSON"),
        *((f'[{{"query": {"[" * depth}{"]" * depth}}}]', "line 1|query 1") for depth in range(900, 1000, 3)),
        (rows(start=10**15), "query 1: start is 1000000000000000"),
        (rows(start=-(10**15)), "query 1: start is -1000000000000000"),
        (rows(gain=1e308), r"query 1: gain is 1e\+308"),
        ('[{"query": "a", "path": "x", "gain": ' + "9" * 5000 + "}]", "line 1: not JSON"),
        (rows(source={}), "query 1: the source {} is no text"),
        (rows(source=False), "query 1: the source False is no text"),
        (rows(source=0), "query 1: the source 0 is no text"),
    ],
)
def test_what_is_out_of_all_bounds_is_one_short_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "queries").write_text(text, "utf-8")
    with pytest.raises(JudgmentsError, match=said) as refused:
        read_judged(tmp_path / "queries")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_what_is_no_text_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "queries").write_text(r'[{"query": "a \ud800", "path": "x\u0000", "id": "\udc80"}]', "utf-8")
    (query,) = read_judged(tmp_path / "queries").queries
    assert (query.id, query.text, query.targets[0].path) == ("\ufffd", "a \ufffd", "x\ufffd")


@pytest.mark.parametrize(
    ("queries", "qrels", "said"),
    [
        ('{"_id": [1], "text": "a"}', "q\td\t1", "queries.jsonl, line 1: the _id is of the type list"),
        ('{"_id": null, "text": "a"}', "q\td\t1", "queries.jsonl, line 1: the _id is of the type NoneType"),
        ('{"_id": ' + "[" * 100_000, "q\td\t1", "queries.jsonl, line 1: not JSON"),
        ('{"_id": "q", "text": "a"}', "q\td\t" + "9" * 400, "test.tsv, line 1: the grade is 9{40};"),
        ('{"_id": "q", "text": "a"}', "q\td\t1e300", "test.tsv, line 1: the grade is 1e300;"),
        ('{"_id": "q", "text": "a"}', "q\t\t1", "test.tsv, line 1: an empty id"),
        ('{"_id": "q", "text": "a"}', "q\t" + "d" * (17 << 20), "test.tsv, line 1: longer than 16 MiB"),
        ("x" * (17 << 20), "q\td\t1", "queries.jsonl, line 1: longer than 16 MiB"),
    ],
)
def test_strange_files_of_beir_are_one_short_line(
    queries: str, qrels: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text(queries + "\n", "utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text(qrels + "\n", "utf-8")
    with pytest.raises(JudgmentsError, match=said) as refused:
        read_judged(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "queries.json").open("wb") as file:
        file.truncate(8 << 30)  # of zeros that take no room
    with pytest.raises(JudgmentsError, match="8192 MiB; give at most 256 MiB"):
        read_judged(tmp_path / "queries.json")
