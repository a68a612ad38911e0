"""The benches' own arithmetic: tables, windows, fusion, what a child used."""

import os
import re
import sys
from pathlib import Path

import pytest
from bench import gpu
from bench.children import Child, ChildError, run
from bench.peers import WINDOW, fused, windows
from bench.report import Table, write_section
from bench.tree import make_tree, questions
from hypothesis import given
from hypothesis import strategies as st

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_table_is_markdown_with_its_notes() -> None:
    table = Table(("tool", "MB/s"), [("a|b", "1")], ["one core"])
    assert table.markdown() == "| tool | MB/s |\n|---|---:|\n| a\\|b | 1 |\n\n- one core"


def test_a_section_is_replaced_and_all_else_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n<!-- begin one -->\nold\n<!-- end one -->\nB\n<!-- begin two -->\n<!-- end two -->\n"
    )
    write_section("one", "new\n", page)
    write_section("one", "newer", page)
    assert page.read_text() == (
        "# A\n<!-- begin one -->\nnewer\n<!-- end one -->\nB\n<!-- begin two -->\n<!-- end two -->\n"
    )
    with pytest.raises(ValueError, match="no section <!-- begin three -->"):
        write_section("three", "text", page)


def test_every_table_has_its_place_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text("utf-8")
    for name in (
        "whole",
        "beside",
        "e2e",
        "encoders",
        "gpu",
        "cpu",
        "chunkers",
        "stores",
        "packs-rates",
        "packs-large",
    ):
        assert page.index(f"<!-- begin {name} -->") < page.index(f"<!-- end {name} -->")


@given(st.text(alphabet="ab\n\x0cé", max_size=5000))
def test_windows_are_the_file_in_pieces(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "x.py").write_text(text, "utf-8", newline="\n")
    found = list(windows(tree))
    assert "".join(passage.text for passage in found) == text
    assert all(text.startswith(passage.text, passage.start) for passage in found)
    assert all(0 < len(passage.text) <= WINDOW for passage in found)
    assert len({passage.name for passage in found}) == len(found)


def test_fusion_sums_reciprocal_ranks() -> None:
    assert fused([[1, 2, 3], [3, 1]]) == [1, 3, 2]


def test_a_tree_is_the_same_twice_and_as_large_as_asked(tmp_path: Path) -> None:
    one, two = (make_tree(tmp_path / name, 300_000) for name in ("one", "two"))
    assert one.digest == two.digest
    assert 300_000 <= one.size < 600_000
    assert one.code_files > 0
    asked = questions(one.folder, 5)
    assert asked == questions(two.folder, 5)
    assert len(asked) == 5


@linux_only
def test_a_child_counts_its_own_children() -> None:
    busy = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print('done')"
    said, used = run([sys.executable, "-c", parent])
    assert said == "done\n"
    assert 0.3 <= used.cpu < 5
    assert used.peak > 1_000_000


@linux_only
def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(ChildError, match=r"ended with 3:\n.*no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


@linux_only
def test_a_child_runs_where_its_thread_is_pinned() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        child = Child([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"])
        assert child.finish()[0] == f"{ {min(before)} }\n"
    finally:
        os.sched_setaffinity(0, before)


def test_the_large_models_are_timed_beside_a_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tiny shapes on the CPU: that it runs, and that each model has its row for each mix."""
    monkeypatch.setattr(gpu, "FOLDER", tmp_path)
    wanted = ["--tiny", "--device", "cpu", "--only", "bge-m3", "--only", "nomic-coderank"]
    monkeypatch.setattr(sys, "argv", ["gpu", *wanted, "--tokens", "1500", "--rounds", "1"])
    gpu.main()
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith(("| bge", "| nomic"))]
    assert [row[2] for row in rows] == ["vecloom (sdpa, packed)", "sentence-transformers"] * 4
    assert all(float(row[3].replace(",", "")) > 0 for row in rows)
    apart = re.search(r"two workers on one device: .* vectors within (\S+)", said)
    assert apart is not None
    assert float(apart[1]) < 1e-5


def test_operations_are_those_of_the_layers_and_the_attention() -> None:
    """bge-m3 has 24 layers of 12 width^2 weights; attention costs 4 width length^2 a layer."""
    shape = gpu.SHAPES["bge-m3"]
    assert gpu.operations(shape, [10]) == 24 * (2 * 12 * 1024**2 * 10 + 4 * 1024 * 10**2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_pack_is_killed_and_ends_the_same(tmp_path: Path) -> None:
    from bench.packs import large, over_http

    embed, load = large(tmp_path / "large", 300, 2).rows
    assert embed[-1] == "the same bytes" and load[-1] == "0 points differ"
    assert embed[5] == load[5] == "2"
    (load,) = over_http(tmp_path / "http", 100, 2).rows
    assert load[-1] == "0 points differ" and load[3] == "2"
