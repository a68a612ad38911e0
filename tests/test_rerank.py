"""Hits read by a reranker: which, in which order, and what is told; on PyTorch and on ONNX."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.standins import make_reranker

from commands import Commands
from qdrant_standin import Standin
from stored import contents
from tiny_reranker import export_reranker, reference
from vecloom.cli import run
from vecloom.config import Config, load_config
from vecloom.encoders import backends
from vecloom.encoders.cross_encoder import CrossEncoder, PairScores
from vecloom.errors import MissingExtraError, UnknownModelError, UsageError, WeightsError
from vecloom.index import Index
from vecloom.pipeline.setup import cross_encoder_for
from vecloom.search import Query, in_order_of
from vecloom.types import Hit

QUERY = "retry the connection"
MODELS = ["qdrant-minilm-onnx", "bm25-code"]


@pytest.fixture(scope="module")
def home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of ``tiny_home``, and two rows over one tiny reranker: on PyTorch and on ONNX."""
    place = tmp_path_factory.mktemp("rerank")
    folder = make_reranker(place / "reranker")
    alone = place / "onnx"
    alone.mkdir()
    (alone / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    export_reranker(folder, alone / "model.onnx")
    said = (tiny_home / "config.toml").read_text("utf-8").replace('"tiny"', f'"{tiny_home / "tiny"}"')
    rows = (
        f'\n[models.ours]\nfolder = "{folder}"\nkind = "reranker"\nmax_tokens = 128\n'
        f'\n[models.ours-onnx]\nfolder = "{alone}"\nkind = "reranker"\nmax_tokens = 128\n'
        'backends = ["onnx"]\nonnx_file = "model.onnx"\n'
        '\n[models.none]\nfolder = "gone"\nkind = "reranker"\nmax_tokens = 128\n'
    )
    (place / "config.toml").write_text(said + rows, "utf-8")
    return place


@pytest.fixture
def environ(home: Path, tiny_home: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "VECLOOM_CONFIG": str(home / "config.toml"),
        "VECLOOM_DATA_DIR": str(tmp_path / "data"),
        "VECLOOM_CACHE_DIR": str(tiny_home / "cache"),
    }


@pytest.fixture
def config(environ: dict[str, str]) -> Config:
    return load_config(environ=environ)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Twelve files of a function each, and one of many sections."""
    root = tmp_path / "tree"
    root.mkdir()
    verbs = (
        "open",
        "retry",
        "close",
        "run",
        "check",
        "find",
        "send",
        "read",
        "write",
        "wait",
        "lock",
        "keep",
    )
    for verb in verbs:
        code = (
            f"def {verb}_connection(times):\n    # {verb} the connection, {verb} it again\n    return times\n"
        )
        (root / f"{verb}.py").write_text(code, "utf-8")
    parts = (f"## Retry {n}\n\n{'retry the connection ' * 50}{n}\n\n" for n in range(6))
    (root / "many.md").write_text("# Many\n\n" + "".join(parts), "utf-8")
    return root


@pytest.fixture
def index(tree: Path, tmp_path: Path, config: Config) -> Index:
    said: list[str] = []
    made = Index.create(tmp_path / "index", MODELS, config=config, notice=said.append)
    made.add(tree)
    return made


def expected(index: Index, home: Path, hits: Sequence[Hit]) -> dict[str, float]:
    """What sentence-transformers says of the hits' headers and texts."""
    stored = contents(index)
    texts = [stored[hit.id][0]["header"] + stored[hit.id][0]["text"] for hit in hits]
    assert all(text != hit.text for text, hit in zip(texts, hits, strict=True)), "there are headers"
    scores = reference(home / "reranker", QUERY, texts)
    return dict(zip((hit.id for hit in hits), scores.tolist(), strict=True))


@pytest.mark.parametrize("model", ["ours", "ours-onnx"])
def test_the_best_hits_are_ordered_by_what_a_cross_encoder_says(model: str, index: Index, home: Path) -> None:
    plain = index.search(QUERY, 30)
    assert len(plain) == 18 and all(hit.reranked is None for hit in plain)
    wanted = expected(index, home, plain)
    found = index.search(QUERY, 30, rerank=model, per_file=99)
    assert {hit.id for hit in found} == {*wanted}
    for hit in found:
        assert hit.reranked == pytest.approx(wanted[hit.id], abs=1e-4)
        before = next(one for one in plain if one.id == hit.id)
        assert replace(hit, reranked=None) == before, "its score and legs stay those of the search"
    order = sorted(wanted, key=lambda point: -wanted[point])
    assert [hit.id for hit in found] == order != [hit.id for hit in plain]
    assert [hit.id for hit in index.search(QUERY, 3, rerank=model, per_file=99)] == order[:3]


def test_files_take_turns_behind_the_reranker_too(index: Index, home: Path) -> None:
    wanted = expected(index, home, index.search(QUERY, 30))
    found = index.search(QUERY, 30, rerank="ours")
    firsts, rest = found[:13], found[13:]
    assert len({hit.path for hit in firsts}) == 13 and {hit.path for hit in rest} == {"many.md"}
    for part in (firsts, rest):
        assert [hit.id for hit in part] == sorted((h.id for h in part), key=lambda point: -wanted[point])
    best_of_many = next(hit.id for hit in firsts if hit.path == "many.md")
    assert all(wanted[best_of_many] >= wanted[hit.id] for hit in rest)


def test_so_many_hits_are_read_as_asked_and_never_fewer_than_listed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    scores = CrossEncoder.scores

    def counted(self: CrossEncoder, query: str, texts: Sequence[str]) -> PairScores:
        read.append(len(texts))
        return scores(self, query, texts)

    monkeypatch.setattr(CrossEncoder, "scores", counted)
    plain = index.search(QUERY, 4, per_file=99)
    found = index.search(QUERY, 2, rerank="ours", rerank_top=4, per_file=99)
    assert len(found) == 2 and {hit.id for hit in found} <= {hit.id for hit in plain}
    assert len(index.search(QUERY, 6, rerank="ours", rerank_top=4)) == 6
    index.search(QUERY, 1, rerank="ours")
    assert read == [4, 6, 18]
    assert Query(QUERY, rerank_top=30).depth == Query(QUERY).depth == 100
    assert Query(QUERY, rerank_top=400).depth == 400


def test_equal_scores_keep_the_order_and_files_their_turn() -> None:
    hits = [
        Hit(str(n), 9.0 - n, "one", path, 1, 1, "", "", {})
        for n, path in enumerate(("a", "a", "b", "c", "d"))
    ]
    found = in_order_of([1.0, 2.0, 1.0, 1.0, 3.0], hits, Query("x", limit=4))
    assert [(hit.id, hit.reranked) for hit in found] == [("4", 3.0), ("1", 2.0), ("2", 1.0), ("3", 1.0)]
    assert [hit.score for hit in found] == [5.0, 8.0, 7.0, 6.0]
    together = in_order_of([1.0, 2.0, 1.0, 1.0, 3.0], hits, Query("x", limit=4, per_file=2))
    assert [hit.id for hit in together] == ["4", "1", "0", "2"]


def test_others_have_the_shard_while_the_model_reads(
    index: Index, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = CrossEncoder.scores
    between: list[list[Hit]] = []

    def reading(self: CrossEncoder, query: str, texts: Sequence[str]) -> PairScores:
        with Index.open(index.folder, config=config) as other:
            between.append(other.search(QUERY, 1))
        return scores(self, query, texts)

    monkeypatch.setattr(CrossEncoder, "scores", reading)
    assert index.search(QUERY, rerank="ours")
    assert len(between) == 1 and between[0]


def test_a_model_is_loaded_once_an_index(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(spec: Any, *rest: Any) -> Any:
        made.append(spec.key)
        return cross_encoder_for(spec, *rest)

    monkeypatch.setattr("vecloom.pipeline.reranking.cross_encoder_for", counted)
    for model in ("ours", "OURS", "ours-onnx", "ours"):
        index.search(QUERY, rerank=model)
    assert made == ["ours", "ours-onnx"]


def test_a_line_tells_what_it_took_and_what_was_cut(tree: Path, tmp_path: Path, config: Config) -> None:
    said: list[str] = []
    (tree / "long.md").write_text("# Long\n\n" + "retry the connection " * 80, "utf-8")
    with Index.create(tmp_path / "index", MODELS, config=config, notice=said.append) as index:
        index.add(tree)
        index.search(QUERY, rerank="ours", rerank_top=3)
        assert index.search(QUERY, rerank="ours", filters={"path": "nowhere"}) == []
        index.search(QUERY, rerank="ours", filters={"path": "long.md"})
        index.search(QUERY, rerank="ours", filters={"path": "open.py"})
    whole, several, one = said
    assert re.fullmatch(r"reranked 10 hits with ours in [\d,]+ ms; \d of them did not fit it whole", whole)
    assert re.fullmatch(r"reranked 2 hits with ours in [\d,]+ ms; 1 of them did not fit it whole", several)
    assert re.fullmatch(r"reranked 1 hit with ours in [\d,]+ ms", one)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"rerank": "bge-m3"}, UsageError, "bge-m3 gives dense vectors and does not rerank; there are .*ours"),
    ({"rerank": "bogus"}, UnknownModelError, "no model is called 'bogus'"),
    ({"rerank": "jina-reranker"}, UsageError, "jina-reranker cannot be run"),
    ({"rerank": "ours", "rerank_top": 0}, UsageError, "a reranker reads 1 to 1000 hits; not 0"),
    ({"rerank": "ours", "rerank_top": 1001}, UsageError, "not 1001"),
    ({"rerank_top": 5}, UsageError, "5 hits are to be reranked, by which model"),
    ({"rerank": "none"}, WeightsError, "gone"),
]


@pytest.mark.parametrize(("options", "error", "said"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_searched(
    options: dict[str, Any],
    error: type[Exception],
    said: str,
    index: Index,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def searched(*_: Any) -> None:
        raise AssertionError("it was searched")

    monkeypatch.setattr(index, "_query_engine", searched)
    monkeypatch.setattr(index._home.access, "open", searched)
    with pytest.raises(error, match=said):
        index.search(QUERY, **options)


def test_a_reranker_on_pytorch_needs_the_extra(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"ours needs .*pip install .*torch>="):
        index.search(QUERY, rerank="ours")
    assert index.search(QUERY, rerank="ours-onnx")[0].reranked is not None


@pytest.fixture
def vecloom(
    index: Index,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """``vecloom search QUERY`` over the index, in this process."""
    index.close()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def call(*options: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["search", QUERY, "--index", str(index.folder), *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_command_lists_and_explains_and_writes_what_the_reranker_says(
    vecloom: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = vecloom("--rerank", "ours", "--rerank-top", "12", "--limit", "5", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(rows) == 5
    scores = [row["reranked"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert re.fullmatch(r"reranked 12 hits with ours in [\d,]+ ms[^\n]*\n", err), err
    _, out, _ = vecloom("--rerank", "ours", "--rerank-top", "12", "--limit", "5")
    assert re.findall(r"  reranked (-?\d+\.\d{4})  ", out) == [f"{score:.4f}" for score in scores]
    _, out, _ = vecloom("--rerank", "ours", "--explain", "--limit", "5", "--json")
    explained = [json.loads(line) for line in out.splitlines()]
    for row in explained:
        told = row["explanation"]
        total = sum(told["shares"].values()) + sum(told["boosts"].values())
        assert row["score"] == pytest.approx(total) and "reranked" in row
    _, out, _ = vecloom("--rerank", "ours", "--explain", "--limit", "1")
    head, *rest = out.splitlines()
    assert f"reranked {explained[0]['reranked']:.4f}" in head
    assert any(line.startswith("    bm25-code +") for line in rest)
    assert all("reranked" not in json.loads(line) for line in vecloom("--json")[1].splitlines())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rerank", "bge-m3"], "vecloom: bge-m3 gives dense vectors and does not rerank"),
        (["--rerank", "bogus"], "vecloom: no model is called 'bogus'"),
        (["--rerank-top", "3"], "vecloom: 3 hits are to be reranked, by which model"),
        (["--rerank", "ours", "--rerank-top", "0"], "vecloom: a reranker reads 1 to 1000 hits"),
    ],
)
def test_a_wrong_option_is_one_line_and_2(
    options: list[str], said: str, vecloom: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = vecloom(*options)
    assert (code, out) == (2, "") and err.startswith(said) and err.count("\n") == 1


def test_no_torch_is_needed_for_an_onnx_file(index: Index, environ: dict[str, str], tmp_path: Path) -> None:
    index.close()
    script = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from vecloom.cli import run; sys.exit(run(sys.argv[1:]))"
    )

    def search(model: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable, "-c", script,
                "search", QUERY, "--index", str(index.folder), "--json", "--rerank", model,
            ],
            env=Commands(environ, tmp_path).environ,
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    done = search("ours-onnx")
    assert done.returncode == 0, done.stderr
    assert all("reranked" in json.loads(line) for line in done.stdout.splitlines())
    refused = search("ours")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"vecloom: {MissingExtraError('ours', 'torch')}\n"


def test_a_server_gives_the_same(index: Index, tree: Path, config: Config, standin: Standin) -> None:
    standin.forget()
    there = Index.create(standin.url, MODELS, collection="rerank", config=config)
    there.add(tree)
    mine, theirs = (one.search(QUERY, 5, rerank="ours", rerank_top=8) for one in (index, there))
    assert [hit.id for hit in theirs] == [hit.id for hit in mine]
    assert [hit.reranked for hit in theirs] == [hit.reranked for hit in mine]
