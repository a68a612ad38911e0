"""The commands: exit codes, stdout and stderr, which index is meant, the shapes of ``--json``."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import Vecloom
from vecloom.cli.output import Pace
from vecloom.pipeline.manifest import record_in
from vecloom.pipeline.report import Progress

GUIDE = "# Guide\n\nHow to weave.\n\n## Retries\n\nRetry the connection twice.\n"
#: A model of each kind, of which the first two share a pass.
THREE = "qdrant-minilm-onnx,qdrant-minilm-attention,qdrant-bm25"

CODE = "class Loom:\n    def weave(self, thread):\n        return thread\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Code, prose, data, and one file that says the same thing many times."""
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "src" / "loom.py").write_text(CODE, "utf-8")
    (root / "src" / "deep" / "loom.go").write_text("package loom\n\nfunc Weave() {}\n", "utf-8")
    (root / "docs" / "guide.md").write_text(GUIDE, "utf-8")
    (root / "settings.toml").write_text('[loom]\nthread = "red"\n', "utf-8")
    shuttles = (f"## Part {number}\n\n{'shuttle ' * 60}{number}\n\n" for number in range(6))
    (root / "many.md").write_text("".join(shuttles), "utf-8")
    (root / "docs" / "one.md").write_text("# One\n\nA shuttle, among much else that is said here.\n", "utf-8")
    return root


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "--bogus"),
        (["nothing"], "nothing"),
        (["index"], "name a PATH"),
        (["index", "project", "docs", "--source", "x"], "does not exist|one source"),
        (["index", "project", "--models", "bogus"], "no model is called 'bogus'"),
        (["index", "project", "--models", "bge-m3:7"], "7"),
        (["index", "project", "--chunk-tokens", "8"], "chunks of 8 tokens"),
        (["index", "project", "--chunk-tokens", "many"], "--chunk-tokens.*integer"),
        (["index", "project", "--overlap", "200"], "an overlap of 200"),
        (["search"], "QUERY"),
        (["search", "x"], "there is no index yet"),
        (["status"], "there is no index yet"),
        (["chunk"], "PATH"),
        (["chunk", "project", "--models", "bogus"], "no model is called 'bogus'"),
        (["models", "show", "minilmm"], "nearest: .*minilm"),
        (["models", "verify", "bogus"], "no model is called"),
    ],
)
def test_wrong_usage_is_2_and_makes_nothing(
    arguments: list[str], said: str, vecloom: Vecloom, tree: Path, tmp_path: Path
) -> None:
    done = vecloom(*arguments)
    assert done.code == 2 and done.out == ""
    assert re.search(said, done.err), done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "0"], "limit is 1 to 1000"),
        (["--limit", "99999999999999999999"], "limit is 1 to 1000"),
        (["--per-file", "0"], "per-file from 1; not 10, 0"),
        (["--using", "bogus"], "bogus"),
        (["--using", "bge-m3"], "no vector 'bge-m3'"),
        (["--weight", "bm25"], "KEY=VALUE"),
        (["--weight", "bm25=much"], "not a number: 'much'"),
        (["--weight", "bm25=-1"], "not below 0"),
        (["--weight", "bm25=nan"], "finite"),
        (["--weight", "minilm=0", "--using", "minilm"], "weight 0"),
        (["--weight", "minilm=2", "--using", "bm25"], "qdrant-minilm has a weight and is not searched"),
        (["--filter", "colour=red"], "no filter is called 'colour'"),
        (["--filter", "path"], "KEY=VALUE"),
        (["--fusion", "best"], "best"),
        (["--task", "x"], "no model of the index knows the task 'x'"),
    ],
)
def test_a_wrong_search_is_2_with_the_value(
    options: list[str], said: str, vecloom: Vecloom, tree: Path
) -> None:
    assert vecloom("index", tree).code == 0
    done = vecloom("search", "weave", *options)
    assert done.code == 2 and done.out == "" and said in done.err
    assert vecloom("search", " ").code == 2


def test_settings_that_the_index_was_not_made_with_are_2(vecloom: Vecloom, tree: Path) -> None:
    assert vecloom("index", tree, "--models", "bm25").code == 0
    for options in (["--chunk-tokens", "64"], ["--overlap", "8"], ["--models", "minilm"]):
        done = vecloom("index", tree, *options)
        assert done.code == 2 and "--rebuild" in done.err
    done = vecloom("index", tree, "--models", "bm25,minilm")
    assert done.code == 2 and "256 words" in done.err and "--rebuild" in done.err
    assert vecloom("index", tree, "--models", "bm25,minilm", "--rebuild").code == 0
    assert vecloom("status", "--json").rows[0]["vectors"].keys() == {"bm25", "qdrant-minilm"}


def test_an_unknown_variable_is_2(vecloom: Vecloom, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECLOOM_CACHE", "x")
    done = vecloom("index", tree)
    assert done.code == 2 and "VECLOOM_CACHE;" in done.err


def test_a_run_says_what_it_did_on_stderr_only(vecloom: Vecloom, tree: Path) -> None:
    done = vecloom("index", tree)
    assert (done.code, done.out) == (0, "")
    assert "6 files (0 unchanged, 0 gone)" in done.err and "qdrant-minilm: " in done.err
    again = vecloom("index", tree)
    assert "6 files (6 unchanged, 0 gone)" in again.err and "encoded" not in again.err


def test_the_time_left_is_that_of_the_work_and_of_all_models() -> None:
    pace = Pace()

    def said(done: int, share: float, whole: float | None, now: float) -> str:
        event = Progress("encode", done, 10, "chunks", "one", tokens=done * 100, share=share, whole=whole)
        return pace.described(event, now)

    assert said(0, 0.0, 0.0, 100) == "encoding one: 0 of 10 chunks"
    assert said(5, 0.25, 0.125, 110) == (
        "encoding one: 5 of 10 chunks, 50 tokens/s, 30 s left (1:10 for all models)"
    )
    assert said(5, 0.25, 0.25, 110) == "encoding one: 5 of 10 chunks, 50 tokens/s, 30 s left"
    assert said(5, 0.25, None, 110) == "encoding one: 5 of 10 chunks, 50 tokens/s, 30 s left"


def test_the_time_left_is_that_of_the_count_where_nobody_knows_the_work() -> None:
    pace = Pace()
    events = [Progress("read", done, total, "files", "x") for done, total in ((0, None), (5, 20), (20, 20))]
    assert [pace.described(event, now) for now, event in enumerate(events)] == [
        "reading x: 0 files",
        "reading x: 5 of 20 files, 3.0 s left",
        "reading x: 20 of 20 files, 0.0 s left",
    ]


def test_a_hit_in_json(vecloom: Vecloom, tree: Path) -> None:
    vecloom("index", tree, "--models", THREE)
    first, *_ = rows = vecloom("search", "retry the connection", "--json", "--using", "bm25,bm42").rows
    assert [*first] == [
        "id",
        "score",
        "source",
        "path",
        "start_line",
        "end_line",
        "breadcrumb",
        "text",
        "legs",
    ]
    assert (first["source"], first["path"]) == ("project", "docs/guide.md")
    assert "Retry the connection twice." in first["text"]
    lines = GUIDE.splitlines(keepends=True)[first["start_line"] - 1 : first["end_line"]]
    assert first["text"] in "".join(lines)
    assert {*first["legs"]} == {"bm25", "minilm-attention"}
    assert all([*leg] == ["rank", "score"] for row in rows for leg in row["legs"].values())
    assert first["score"] == pytest.approx(sum(1 / (60 + leg["rank"]) for leg in first["legs"].values()))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("models", "words", "others"),
    [
        ((), "bm25-code", {"qdrant-minilm"}),
        (("--models", THREE), "bm25", {"qdrant-minilm", "minilm-attention"}),
    ],
)
def test_legs_weights_and_fusions(
    vecloom: Vecloom, tree: Path, models: tuple[str, ...], words: str, others: set[str]
) -> None:
    vecloom("index", tree, *models)

    def best(*options: str) -> dict[str, Any]:
        return vecloom("search", "weave thread", "--json", *options).rows[0]

    assert {*best()["legs"]} == {"qdrant-minilm", words}
    assert {*best("--fusion", "rrf")["legs"]} == {words, *others}
    for name in ("qdrant-bm25", "bm25", words):
        assert {*best("--using", name)["legs"]} == {words}
    silent = [part for name in others for part in ("--weight", f"{name}=0")]
    assert {*best(*silent)["legs"]} == {words}
    heavy = best("--using", "bm25", "--weight", "bm25=3")
    assert heavy["score"] == pytest.approx(3 / 61)
    assert best("--using", "bm25", "--fusion", "weighted")["score"] == pytest.approx(1)
    assert math.isfinite(best("--fusion", "dbsf")["score"])


def test_filters_hold_for_every_hit(vecloom: Vecloom, tree: Path) -> None:
    vecloom("index", tree)

    def found(*filters: str) -> set[str]:
        options = [part for item in filters for part in ("--filter", item)]
        rows = vecloom("search", "weave thread loom shuttle", "--limit", "50", "--json", *options).rows
        return {row["path"] for row in rows}

    assert found("path=src/**") == {"src/loom.py", "src/deep/loom.go"}
    assert found("path=*.md") == {"many.md", "docs/guide.md", "docs/one.md"}
    assert found("path=docs/*.md") == {"docs/guide.md", "docs/one.md"}
    assert found("language=python") == {"src/loom.py"}
    assert found("language=python", "language=go") == {"src/loom.py", "src/deep/loom.go"}
    assert found("kind=data") == {"settings.toml"}
    assert found("kind=code", "path=src/*.py") == {"src/loom.py"}
    assert found("source=project", "kind=data") == {"settings.toml"}
    assert found("path=nowhere/**") == found("language=cobol") == set()


def test_chunks_of_one_file_wait_for_other_files(vecloom: Vecloom, tree: Path) -> None:
    vecloom("index", tree)
    search = ("search", "shuttle", "--using", "bm25", "--json")
    paths = [row["path"] for row in vecloom(*search).rows]
    assert {*paths[:2]} == {"many.md", "docs/one.md"}
    assert len(paths) > 4 and {*paths[2:]} == {"many.md"}
    several = [row["path"] for row in vecloom(*search, "--per-file", "9", "--limit", "3").rows]
    assert several == ["many.md"] * 3
    assert [row["path"] for row in vecloom(*search, "--limit", "1").rows] == [paths[0]]


def test_a_listing_can_be_clicked(
    vecloom: Vecloom, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vecloom("index", tree)
    search = ("search", "retry the connection", "--limit", "1", "--using", "bm25")
    shown = vecloom(*search).out.splitlines()
    assert re.match(r"project/docs/guide\.md:\d+-7  Guide", shown[0])
    assert "    ## Retries" in shown
    monkeypatch.chdir(tree)
    assert vecloom(*search).out.startswith("docs/guide.md:")
    monkeypatch.chdir(tree / "src")
    assert vecloom(*search).out.startswith(f"{tree}/docs/guide.md:")
    nothing = vecloom("search", "zzzz", "--using", "bm25")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing found")


def test_a_search_says_which_legs_are_not_complete(vecloom: Vecloom, tree: Path, tmp_path: Path) -> None:
    vecloom("index", tree, "--index", "index")
    record_in(tmp_path / "index", incomplete=("qdrant-minilm",))
    done = vecloom("search", "weave", "--index", "index", "--json")
    assert done.rows and "not complete yet: qdrant-minilm" in done.err
    assert "writer: none; vecloom index goes on" in vecloom("status", "--index", "index").out
    record_in(tmp_path / "index", incomplete=(), unfinished=("project",))
    assert "not complete yet: project" in vecloom("search", "weave", "--index", "index").err
    assert "not read to the end" in vecloom("status", "--index", "index").out


def test_status_in_json_and_for_a_person(vecloom: Vecloom, tree: Path) -> None:
    vecloom("index", tree)
    (row,) = vecloom("status", "--json").rows
    assert [*row] == [
        "folder",
        "points",
        "vectors",
        "incomplete",
        "unfinished",
        "sources",
        "models",
        "runs",
        "task",
        "chunk_tokens",
        "overlap",
        "avg_len",
        "bytes",
        "writer",
        "absent",
    ]
    points = row["points"]
    assert row["vectors"] == {"qdrant-minilm": points, "bm25-code": points}
    assert row["sources"] == {"project": [str(tree), points]}
    assert (row["incomplete"], row["writer"], row["chunk_tokens"], row["overlap"]) == ([], "", 256, 0)
    assert row["models"] == ["qdrant-minilm-onnx", "bm25-code"]
    assert row["runs"] == dict(zip(row["models"], ["onnx, fp32", "native, fp32"], strict=True))
    shown = vecloom("status").out
    assert f"{points} chunks" in shown and f"source project: {points} chunks of {tree}" in shown
    assert f"vector bm25-code: {points} (bm25-code: native, fp32)" in shown
    assert "writer: none" in shown


def test_chunks_give_the_files_back(vecloom: Vecloom, tree: Path, tmp_path: Path) -> None:
    done = vecloom("chunk", tree, "--out", "chunks.jsonl")
    assert (done.code, done.out) == (0, "") and done.err.startswith("6 files, ")
    text = (tmp_path / "chunks.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert vecloom("chunk", tree).out == text
    assert all(
        [*row]
        == [
            "path",
            "start_line",
            "end_line",
            "start_byte",
            "end_byte",
            "breadcrumb",
            "kind",
            "language",
            "text",
        ]
        for row in rows
    )
    paths = [row["path"] for row in rows]
    assert list(dict.fromkeys(paths)) == sorted({*paths}) and len({*paths}) == 6
    for path in {*paths}:
        data = (tree / path).read_bytes()
        pieces = [row for row in rows if row["path"] == path]
        assert "".join(row["text"] for row in pieces).encode() == data
        for row in pieces:
            assert data[row["start_byte"] : row["end_byte"]] == row["text"].encode()
            assert row["start_line"] == data[: row["start_byte"]].count(b"\n") + 1
    assert {row["language"] for row in rows if row["kind"] == "code"} == {"python", "go"}


def test_a_chunk_budget_is_kept(vecloom: Vecloom, tree: Path) -> None:
    few, many = (len(vecloom("chunk", tree, "--chunk-tokens", str(n)).rows) for n in (256, 64))
    assert many > few
    done = vecloom("chunk", tree, "--out", "no/such/folder.jsonl")
    assert done.code == 1 and "no/such/folder.jsonl" in done.err and len(done.err.splitlines()) == 1


def test_the_index_meant_without_saying(
    vecloom: Vecloom, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vecloom("index", tree)
    (folder,) = (tmp_path / "data" / "indexes").iterdir()
    assert folder.name.startswith("project-") and folder.stat().st_mode & 0o777 == 0o700
    assert vecloom("search", "weave").code == 0  # the only one
    other = tmp_path / "other"
    other.mkdir()
    (other / "note.txt").write_text("a spindle\n", "utf-8")
    vecloom("index", other)
    done = vecloom("search", "weave")
    assert done.code == 2 and str(folder) in done.err and "/other-" in done.err and "--index" in done.err
    for place, path in ((tree / "src" / "deep", "src/loom.py"), (other, "note.txt")):
        monkeypatch.chdir(place)
        assert path in {row["path"] for row in vecloom("search", "weave spindle", "--json").rows}
    # The innermost root around the working folder wins; an index that holds a root is the one it goes to.
    vecloom("index", tree / "src", "--source", "inner")
    monkeypatch.chdir(tree / "src")
    assert {row["source"] for row in vecloom("search", "weave", "--json").rows} == {"inner"}
    assert vecloom("status", "--index", folder, "--json").rows[0]["sources"].keys() == {"project"}
    monkeypatch.chdir(tmp_path)
    assert "6 unchanged" in vecloom("index", tree).err


def test_sources_are_named_kept_and_forgotten(vecloom: Vecloom, tree: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "project"
    shutil.copytree(tree, twin)
    assert vecloom("index", tree, twin, "--index", "index").code == 0

    def sources() -> dict[str, Any]:
        found: dict[str, Any] = vecloom("status", "--index", "index", "--json").rows[0]["sources"]
        return found

    before = sources()
    assert {name: root for name, (root, _) in before.items()} == {
        "project": str(tree),
        "project-2": str(twin),
    }
    (tree / "settings.toml").unlink()
    (twin / "settings.toml").unlink()
    vecloom("index", tree, "--index", "index")
    assert (
        sources()["project"][1] == before["project"][1] - 1 and sources()["project-2"] == before["project-2"]
    )
    assert vecloom("index", "--remove", "project-2", "--index", "index").code == 0
    assert [*sources()] == ["project"]
    gone = vecloom("index", "--remove", "project-2", "--index", "index")
    assert gone.code == 2 and "it has project" in gone.err
    assert vecloom("index", twin, "--source", "mine", "--index", "index").code == 0
    assert [*sources()] == ["project", "mine"]


def test_models_in_json_and_for_a_person(vecloom: Vecloom, tiny_home: Path) -> None:
    rows = vecloom("models", "list", "--json").rows
    keys = ["key", "aliases", "vector_name", "kind", "dim", "max_tokens", "backends", "licence"]
    assert len(rows) >= 7 and all([*row] == keys for row in rows)
    assert len(vecloom("models", "list").out.splitlines()) == len(rows)
    for row in rows:
        for name in (row["key"], row["vector_name"], *row["aliases"]):
            assert vecloom("models", "show", name, "--json").rows[0]["key"] == row["key"]
    (shown,) = vecloom("models", "show", "minilm", "--json").rows
    assert shown["here"] == str(tiny_home / "tiny") and shown["revision"] is None
    text = vecloom("models", "show", "bge-m3").out
    assert re.search(r"^revision +unknown \(never seen here\)$", text, re.MULTILINE)
    assert re.search(r"^here +none$", text, re.MULTILINE)


def test_models_are_pulled_and_verified(vecloom: Vecloom, tiny_home: Path) -> None:
    done = vecloom("models", "pull")
    assert done.code == 0 and f"qdrant-minilm-onnx: {tiny_home / 'tiny'}" in done.out
    assert "bm25-code: needs no files" in done.out
    rows = vecloom("models", "verify", "bm25", "--json").rows
    assert [[*row] for row in rows] == [["check", "ok", "detail"]] and rows[0]["ok"] is True
    done = vecloom("models", "verify", "minilm")
    assert done.code == 0 and "unknown sha256" in done.out and '"model.safetensors" = "' in done.out


def test_doctor_finds_a_machine_that_works_and_one_that_does_not(
    vecloom: Vecloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = vecloom("doctor", "--json").rows
    assert all([*row] == ["check", "ok", "detail"] and row["ok"] is True for row in rows)
    assert {"packages", "weights", "grammars", "index and search"} <= {row["check"] for row in rows}
    (tmp_path / "broken.toml").write_text("colour = 1\n", "utf-8")
    monkeypatch.setenv("VECLOOM_CONFIG", str(tmp_path / "broken.toml"))
    done = vecloom("doctor")
    assert done.code == 1 and done.out.startswith("FAIL config: ") and "colour" in done.out


@pytest.mark.parametrize("command", ["index", "search", "status", "chunk", "models", "doctor"])
def test_every_command_explains_itself(command: str, vecloom: Vecloom) -> None:
    done = vecloom(command, "--help")
    assert done.code == 0 and f"vecloom {command}" in done.out


def test_a_hit_names_its_file_where_its_root_is_gone(vecloom: Vecloom, tmp_path: Path) -> None:
    (tmp_path / "tree" / "src").mkdir(parents=True)
    (tmp_path / "tree" / "src" / "net.py").write_text("def where_are_retries():\n    return 1\n", "utf-8")
    (tmp_path / "one.py").write_text("def where_are_retries_too():\n    return 2\n", "utf-8")
    done = vecloom("index", "tree", "one.py", "--index", "index", "--models", "bm25-code")
    assert done.code == 0, done.err
    (tmp_path / "tree").rename(tmp_path / "elsewhere")
    (tmp_path / "one.py").unlink()
    found = vecloom("search", "where are retries", "--index", "index").out
    assert "tree/src/net.py:1-2" in found and "one.py:1-2" in found and "one.py/one.py" not in found
