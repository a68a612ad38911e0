"""``vecloom eval``: what it writes, of which indexes, with which exit codes."""

from __future__ import annotations

import json
import random
import re
import signal
import time
import zipfile
from dataclasses import dataclass, field
from functools import wraps
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from changing_tree import ChangingTree
from commands import Commands, Vecloom, mind_ctrl_c
from judged_files import QUERIES, TREE, make_tree, write_beir, write_queries
from qdrant_standin import Standin
from stored import contents
from vecloom import carry
from vecloom.config import Config
from vecloom.evaluate import evaluate, read_judged
from vecloom.index import Index

MODELS = ["qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25"]
LEGS = ["qdrant-minilm", "minilm-attention", "bm25"]
#: Those that are plain; "auto" is what `fused` is.
FUSIONS = ["rrf", "dbsf", "weighted"]
SEED = "jina-code-embeddings-1.5b,bge-m3,bge-m3-colbert,nomic-coderank,qdrant-minilm-onnx,qdrant-bm25"
SEED_LEGS = ["jina-code-1.5b", "bge-m3", "bge-m3-colbert", "nomic-coderank", "qdrant-minilm", "bm25"]
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture
def index(tmp_path: Path, tiny_config: Config) -> Path:
    """An index of the made tree."""
    with Index.create(tmp_path / "index", MODELS, config=tiny_config) as index:
        index.add(make_tree(tmp_path / "tree"))
    return tmp_path / "index"


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    return write_queries(tmp_path / "queries.json")


@dataclass
class Page(HTMLParser):
    """A report, parsed: it must be well formed, and name nothing outside of itself."""

    text: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "title" in self.open and "svg" in self.open:
            self.titles.append(data)
        elif "style" not in self.open:
            self.text.append(data)

    @classmethod
    def of(cls, path: Path) -> Page:
        """Parse and check a report."""
        page, text = cls(), path.read_text("utf-8")
        page.feed(text)
        page.close()
        assert page.open == [] and text.startswith("<!doctype html>")
        assert not {"script", "link", "img", "iframe"} & set(page.tags)
        outside = {"src", "href", "xlink:href", "srcset"} | {
            f"on{event}" for event in ("click", "load", "error")
        }
        assert not [name for name, _ in page.attributes if name in outside]
        assert not re.search(r"url\(|@import|https?://", text)
        assert "prefers-color-scheme: dark" in text
        widths = [
            value for name, value in page.attributes if name in ("width", "x", "x1", "x2", "y", "height")
        ]
        assert widths and not [
            value for value in widths if "nan" in value or "inf" in value or value[0] == "-"
        ]
        return page


def test_the_objects_of_json(vecloom: Vecloom, index: Path, judged: Path) -> None:
    before = (index / "index.json").read_bytes()
    rows = vecloom("eval", judged, "--index", index, "--json").by_name
    assert list(rows) == [*LEGS, *FUSIONS, "fused"]
    for row in rows.values():
        assert row["queries"] == 3 and row["problems"] == {} and row["index"] == str(index)
        assert set(row["categories"]) == {"symbol", "idea"}
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        for metric in ("ndcg@10", "recall@10", "mrr@10"):
            low, high = row["intervals"][metric]
            assert 0 <= low <= row[metric] <= high <= 1
            parts = [(row["categories"]["symbol"][metric], 1), (row["categories"]["idea"][metric], 2)]
            assert sum(mean * size for mean, size in parts) / 3 == pytest.approx(row[metric])
    assert rows["bm25"]["mrr@10"] > 0.5, "the words of the queries stand in the targets"
    assert rows["fused"]["against_fused"] == {}
    apart = rows["bm25"]["against_fused"]["ndcg@10"]
    assert apart["mean"] == pytest.approx(rows["bm25"]["ndcg@10"] - rows["fused"]["ndcg@10"])
    assert apart["wins"] + apart["losses"] + apart["ties"] == 3
    assert (index / "index.json").read_bytes() == before


def test_the_runs_are_the_searches_of_their_names(
    index: Path, judged: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    search = Index.search

    @wraps(search)
    def listen(self: Index, text: str, limit: int = 10, **options: Any) -> Any:
        asked.append({"text": text, "limit": limit, **options})
        return search(self, text, limit, **options)

    monkeypatch.setattr(Index, "search", listen)
    with Index.open(index, config=tiny_config) as opened:
        made = evaluate(opened, read_judged(judged), k=3)
        best = search(opened, "weave a thread", 3)
    using = [one["using"] for one in asked if "using" in one]
    assert using == [(name,) for name in LEGS for _ in range(4)], "a warm-up, and three queries"
    assert {one["limit"] for one in asked} == {3}
    assert made.k == 3 and made.files == 5 and made.fused.scores.shape == (3, 3)
    shown = [hit.path == "src/loom.py" and hit.start_line <= 3 for hit in best]
    rank = shown.index(True) + 1 if any(shown) else 0
    assert made.fused.scores[0, 2] == (1 / rank if rank else 0.0)


def test_the_table_and_its_problems(vecloom: Vecloom, index: Path, tmp_path: Path) -> None:
    queries = [
        *QUERIES,
        {"query": "what is gone", "targets": ["gone.py"]},
        {"query": "", "targets": ["settings.toml"]},
        {"query": "weave a thread", "targets": [{"path": "src/loom.py", "start": 1, "end": 3}]},
    ]
    done = vecloom("eval", write_queries(tmp_path / "q.json", queries), "--index", index, "--at", "5")
    assert done.code == 0, done.err
    head, columns, *rows = done.out.splitlines()
    assert "4 queries" in head and columns.split()[:3] == ["nDCG@5", "95", "%"]
    assert [row.split()[0] for row in rows[: len(LEGS)]] == LEGS
    assert any(row.startswith("fused") for row in rows) and any(row.startswith("idea") for row in rows)
    for said in (
        "targets whose path the index does not hold: 1 (such as gone.py)",
        "queries without a text, left out: 1",
        "counted once: 1 (such as weave a thread)",
        "queries none of whose targets the index holds: 1; they count as 0, without them nDCG@5",
    ):
        assert said in done.err
    json_rows = vecloom("eval", tmp_path / "q.json", "--index", index, "--at", "5", "--json").by_name
    assert json_rows["fused"]["problems"] == {
        "empty_queries": 1,
        "repeated_queries": 1,
        "missing_targets": 1,
        "queries_without_held_targets": 1,
    }
    assert "ndcg@5" in json_rows["fused"] and json_rows["fused"]["queries"] == 4
    without = re.search(r"without them nDCG@5 of fused is ([\d.]+)", done.err)
    assert without and float(without[1]) == pytest.approx(json_rows["fused"]["ndcg@5"] * 4 / 3, abs=6e-4)


def test_beir_end_to_end(vecloom: Vecloom, tmp_path: Path) -> None:
    corpus = {"d1": "wool is spun into yarn", "d2": "yarn is dyed red", "d3": "a loom of oak"}
    folder = write_beir(
        tmp_path / "set",
        {"q1": "spun wool", "q2": "loom of oak", "q3": "nobody judged this"},
        {"test": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n"},
        corpus,
    )
    assert vecloom("index", folder / "corpus.jsonl", "--index", "i", "--models", "bm25").code == 0
    rows = vecloom("eval", folder, "--index", "i", "--json").by_name
    assert list(rows) == ["bm25", "fused"], "of one leg there are no fusions"
    assert rows["bm25"]["ndcg@10"] == 1.0 and rows["bm25"]["queries"] == 2 and rows["bm25"]["problems"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["eval"], 2, "--from-docstrings"),
        (["eval", "missing.csv", "--index", "index"], 2, "no judged queries at missing.csv"),
        (["eval", "queries.json", "--index", "nowhere"], 1, "nowhere"),
        (["eval", "queries.json", "--index", "index", "--at", "0"], 2, "metrics at 0 hits"),
        (["eval", "queries.json", "--index", "index", "--queries", "0"], 2, "0 queries cannot be asked"),
        (["eval", "queries.json", "--index", "index", "--compare", "index", "index"], 2, "leave --index out"),
        (["eval", "queries.json", "--index", "index", "--report", "no/where.html"], 2, "no/where.html"),
        (["eval", "queries.json", "--index", "index", "--task", "bogus"], 2, "bogus"),
        (
            ["eval", "other.json", "--index", "index"],
            1,
            "holds none of the targets of other.json.*'lib/x.py'",
        ),
        (["eval", "tree", "--index", "index"], 2, "holds no judged queries"),
        (["eval", "broken.csv", "--index", "index"], 1, "broken.csv, line 1: no columns query and path"),
        (["eval", "queries.json", "--index", "queries.json"], 1, "cannot be read as a zip"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], code: int, said: str, vecloom: Vecloom, index: Path, judged: Path, tmp_path: Path
) -> None:
    write_queries(tmp_path / "other.json", [{"query": "q", "targets": ["lib/x.py"]}])
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n")
    done = vecloom(*arguments)
    assert done.code == code and done.out == "", done.err
    lines = [line for line in done.err.splitlines() if "replaces the built-in row" not in line]
    assert len(lines) == 1 and re.search(said, lines[0]), done.err


def test_a_report_shows_everything_and_escapes_it(vecloom: Vecloom, index: Path, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script> & \u202e\x1b[31m'
    queries = [dict(one, category=f"<b>{one['category']}</b>") for one in QUERIES]
    queries += [{"query": evil, "targets": ["docs/guide.md", "<img src=x onerror=alert(1)>"]}]
    path = write_queries(tmp_path / "q&q.json", queries)
    done = vecloom("eval", path, "--index", index, "--report", "report.html")
    assert done.code == 0 and "report: report.html" in done.err
    page = Page.of(tmp_path / "report.html")
    text = " ".join(page.text)
    for wanted in (
        *LEGS,
        *FUSIONS,
        "fused",
        "qdrant-minilm-onnx",
        "onnx, fp32",
        "<b>idea</b>",
        "q&q.json",
    ):
        assert wanted in text, wanted
    assert "<img src=x onerror=alert(1)>" in text
    tips = [title for title in page.titles if "fused" in title and "\n" in title]
    assert len(tips) == len(queries), "a bar for each query"
    assert any('<script>alert("x")</script> & \\u202e\\x1b[31m' in tip for tip in tips)


def test_two_indexes_are_compared(vecloom: Vecloom, index: Path, judged: Path, tmp_path: Path) -> None:
    make_tree(tmp_path / "part", {"src/loom.py": TREE["src/loom.py"]})
    assert vecloom("index", "part", "--index", "words", "--models", "bm25").code == 0
    done = vecloom("eval", judged, "--compare", index, "words", "--json", "--report", "report.html")
    assert done.code == 0, done.err
    first, second, apart = map(json.loads, done.out.splitlines())
    assert (first["side"], second["side"], apart["side"]) == ("A", "B", "B-A")
    assert (first["index"], second["index"]) == (str(index), "words")
    for metric in ("ndcg@10", "recall@10", "mrr@10"):
        assert apart[metric] == pytest.approx(second[metric] - first[metric])
        assert apart[metric] < 0 and apart["queries_won"][metric]["losses"] > 0, "B lacks most targets"
        low, high = apart["intervals"][metric]
        assert low <= apart[metric] <= high
        assert sum(apart["queries_won"][metric].values()) == 3
    for change in apart["changed"]:
        assert change["a"] != change["b"]
    assert len(apart["changed"]) == 3 - apart["queries_won"]["ndcg@10"]["ties"]
    page = Page.of(tmp_path / "report.html")
    assert str(index) in " ".join(page.text) and "B less A" in " ".join(page.text)
    table = vecloom("eval", judged, "--compare", index, index).out
    assert "B less A" in table and ".000 to .000" in table


def test_problems_of_two_indexes_are_told_once_or_by_side(
    vecloom: Vecloom, index: Path, tmp_path: Path
) -> None:
    make_tree(tmp_path / "part", {"src/loom.py": TREE["src/loom.py"]})
    assert vecloom("index", "part", "--index", "less", "--models", "bm25").code == 0
    queries = write_queries(tmp_path / "q.json", [*QUERIES, {"query": "", "targets": ["settings.toml"]}])
    told = vecloom("eval", queries, "--compare", index, index, "--report", "same.html").err
    assert told.count("queries without a text") == 1 and "vecloom: queries without a text" in told
    told = vecloom("eval", queries, "--compare", index, "less", "--report", "other.html").err
    assert told.count("queries without a text") == 2
    assert "vecloom, B: targets whose path the index does not hold: 3" in told
    heads = [
        " ".join(Page.of(tmp_path / name).text).count("What the means hide")
        for name in ("same.html", "other.html")
    ]
    assert heads == [1, 2]


def test_a_collection_of_a_server(vecloom: Vecloom, judged: Path, index: Path, standin: Standin) -> None:
    standin.forget()
    where = ["--index", standin.url, "--collection", "judged"]
    assert vecloom("index", "tree", *where, "--models", "bm25").code == 0
    rows = vecloom("eval", judged, *where, "--json").by_name
    words = vecloom("eval", judged, "--index", index, "--json").by_name["bm25"]
    assert rows["bm25"]["ndcg@10"] == pytest.approx(words["ndcg@10"])
    assert rows["fused"]["index"] == f"{standin.url}, judged"


def test_a_pack_and_its_zip_are_loaded_for_as_long_as_it_takes(
    vecloom: Vecloom,
    index: Path,
    judged: Path,
    tmp_path: Path,
    tiny_config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pack = tmp_path / "pack"
    carry.embed(pack, tmp_path / "tree", models=MODELS, config=tiny_config)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for file in pack.iterdir():
            archive.write(file, file.name)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    wanted = vecloom("eval", judged, "--index", index, "--json").by_name
    for place in (pack, tmp_path / "pack.zip"):
        rows = vecloom("eval", judged, "--index", place, "--json").by_name
        assert {name: row["ndcg@10"] for name, row in rows.items()} == pytest.approx(
            {name: row["ndcg@10"] for name, row in wanted.items()}
        )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_tree_judges_itself_by_the_command(vecloom: Vecloom, tmp_path: Path) -> None:
    make_tree(
        tmp_path / "own", {"a.py": 'def spin(wool):\n    """Turns raw wool into yarn."""\n    return wool\n'}
    )
    done = vecloom("eval", "own", "--from-docstrings", "--json", "--report", "own.html")
    assert done.by_name["fused"]["recall@10"] == 1.0 and done.by_name["fused"]["queries"] == 1
    assert "who wrote the code wrote them too" in done.err
    assert "who wrote the code wrote them too" in " ".join(Page.of(tmp_path / "own.html").text)


def test_six_vectors_end_to_end(tmp_path: Path, seed_environ: dict[str, str], seed_config: Config) -> None:
    ChangingTree(tmp_path / "tree", random.Random(5)).change()
    vecloom = Commands(seed_environ, tmp_path)
    done = vecloom.run("index", tmp_path / "tree", "--index", "index", "--models", SEED, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with Index.open(tmp_path / "index", config=seed_config) as opened:
        wanted = contents(opened)
        paths = sorted({path for _, path in opened.files()})[:6]
    lines = ["query,path,category", *(f"words of {path},{path},{path.rpartition('.')[2]}" for path in paths)]
    (tmp_path / "judged.csv").write_text("\n".join(lines) + "\n", "utf-8")
    call = ["eval", "judged.csv", "--index", "index", "--device", "cpu", "--json", "--report", "report.html"]
    done = vecloom.run(*call)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == {*SEED_LEGS, *FUSIONS, "fused"}
    assert all(row["queries"] == len(paths) for row in rows.values())
    page = Page.of(tmp_path / "report.html")
    text = " ".join(page.text)
    assert all(name in text for name in (*SEED_LEGS, *SEED.split(",")))
    with Index.open(tmp_path / "index", config=seed_config) as opened:
        assert contents(opened) == wanted, "nothing of the index is changed"


def test_ctrl_c_is_130_and_leaves_nothing(tmp_path: Path, tiny_environ: dict[str, str], index: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    tree = make_tree(
        tmp_path / "big",
        {
            f"m{n}.py": f'def f(x):\n    """Does thing number {n} of very many."""\n    return x\n'
            for n in range(400)
        },
    )
    vecloom = Commands({**tiny_environ, "TMPDIR": str(temporary)}, tmp_path)
    call = ("eval", tree, "--from-docstrings", "--queries", "400")
    with vecloom.start(*call, preexec_fn=mind_ctrl_c) as child:
        deadline = time.monotonic() + 60
        while not list(temporary.glob("*/index/index.json")) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and err.splitlines()[-1] == "vecloom: stopped"
    assert list(temporary.iterdir()) == []
