"""An index of the former default models: it goes on working, is told of the new ones, and can have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Vecloom
from stored import Contents, contents, differences, fresh
from vecloom.chunking import CHUNKER_VERSION
from vecloom.config import Config
from vecloom.index import Index
from vecloom.pipeline.manifest import load_manifest
from vecloom.pipeline.points import NewPoint, points_of
from vecloom.pipeline.status import advice_for
from vecloom.recipe import Asked
from vecloom.registry import DEFAULT_MODELS, FORMER_DEFAULT_MODELS

BOTH = (*FORMER_DEFAULT_MODELS, "bm25-code")
ADVICE = "the default models are qdrant-minilm-onnx,bm25-code now, for better results"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Code with several definitions a file, nested ones among them, and prose with headings."""
    root = tmp_path / "tree"
    (root / "src").mkdir(parents=True)
    pulls = "        thread.pull()\n" * 40
    body = "".join(f"    def weave_{n}(self, thread):\n{pulls}\n" for n in range(6))
    (root / "src" / "loom.py").write_text(f"class Loom:\n{body}", "utf-8")
    (root / "src" / "knots.py").write_text("def tieKnot(rope):\n    return rope\n", "utf-8")
    parts = "".join(f"## Part {n}\n\n{'the shuttle flies ' * 40}\n\n" for n in range(4))
    (root / "guide.md").write_text(f"# Guide\n\n{parts}", "utf-8")
    (root / "plain.txt").write_text("Only words.\n", "utf-8")
    return root


def older(folder: Path, tree: Path, config: Config) -> Contents:
    """An index as the version before made it: without the names that chunks define, by the former chunker."""

    def without(*given: object) -> list[NewPoint]:
        points = points_of(*given)  # type: ignore[arg-type]
        return [
            NewPoint(point.id, {key: value for key, value in point.payload.items() if key != "defines"})
            for point in points
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vecloom.pipeline.reading.points_of", without)
        patch.setattr("vecloom.pipeline.run.CHUNKER_VERSION", CHUNKER_VERSION - 1)
        with Index.create(folder, FORMER_DEFAULT_MODELS, config=config) as index:
            index.add(tree)
            return contents(index)


def add_the_new_one(folder: Path, tree: Path, config: Config) -> Index:
    index = Index.prepare(folder, Asked(BOTH), config=config)
    assert index.incomplete == ("bm25-code",)
    index.add(tree)
    return index


def test_an_older_index_goes_on_and_its_dense_vectors_stay(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    before = older(tmp_path / "index", tree, tiny_config)
    assert all("defines" not in payload for payload, _ in before.values())
    assert load_manifest(tmp_path / "index").chunker == CHUNKER_VERSION - 1
    with Index.open(tmp_path / "index", config=tiny_config) as index:
        assert index.search("tieKnot")[0].path == "src/knots.py"
        assert set().union(*(hit.legs for hit in index.search("rope"))) <= {"qdrant-minilm", "bm25"}
        report = index.add(tree)
        assert not {"qdrant-minilm", "minilm-attention"} & {*report.encoded}, "they are taken over"
        wanted = fresh(tmp_path / "clean", tiny_config, tree, models=FORMER_DEFAULT_MODELS)
        assert differences(contents(index), wanted) == []
        assert index.add(tree).unchanged == 4


@pytest.mark.parametrize("make", [older, "current"])
def test_the_new_model_beside_the_former_ones_is_that_of_a_fresh_index(
    make: Callable[[Path, Path, Config], Contents] | str, tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    if callable(make):
        make(tmp_path / "index", tree, tiny_config)
    else:
        fresh(tmp_path / "index", tiny_config, tree, models=FORMER_DEFAULT_MODELS)
    wanted = fresh(tmp_path / "clean", tiny_config, tree, models=BOTH)
    assert any(payload["defines"] for payload, _ in wanted.values())
    assert any(not payload["defines"] for payload, _ in wanted.values()), "some points keep their vectors"
    with add_the_new_one(tmp_path / "index", tree, tiny_config) as index:
        assert index.incomplete == () and differences(contents(index), wanted) == []
        assert "bm25-code" in set().union(*(hit.legs for hit in index.search("rope")))


def test_the_former_words_answer_until_the_new_ones_are_there(
    tree: Path, tmp_path: Path, tiny_config: Config
) -> None:
    fresh(tmp_path / "index", tiny_config, tree, models=FORMER_DEFAULT_MODELS)
    with Index.prepare(tmp_path / "index", Asked(BOTH), config=tiny_config) as index:
        assert index.search("tieKnot")[0].legs.keys() == {"qdrant-minilm", "bm25"}
        index.add(tree)
        assert index.search("tieKnot")[0].legs.keys() == {"qdrant-minilm", "bm25-code"}


def test_a_run_and_a_status_tell_of_the_new_models_and_a_search_does_not(
    tree: Path, vecloom: Vecloom
) -> None:
    former, both = ",".join(FORMER_DEFAULT_MODELS), ",".join(BOTH)
    code, _, err = vecloom("index", "tree", "--models", former)
    assert code == 0 and err.count(ADVICE) == 1
    (line,) = (line for line in vecloom("index", "tree")[2].splitlines() if ADVICE in line)
    assert f"vecloom index PATH --models {both};" in line
    assert line.endswith("vecloom index PATH --rebuild --models qdrant-minilm-onnx,bm25-code")
    code, out, err = vecloom("status")
    assert code == 0 and err == line and ADVICE not in out
    code, out, err = vecloom("status", "--json")
    assert err == line and len(out.splitlines()) == 1
    assert vecloom("search", "rope")[2] == ""
    code, _, err = vecloom("index", "--rebuild")
    assert code == 0 and err.count(ADVICE) == 1, "it keeps its models"
    code, _, err = vecloom("index", "tree", "--models", both)
    assert code == 0 and ADVICE not in err and vecloom("status")[2] == ""


def test_what_it_says_to_do_can_be_done(tree: Path, vecloom: Vecloom) -> None:
    vecloom("index", "tree", "--models", ",".join(FORMER_DEFAULT_MODELS))
    change = ["index", "tree", "--rebuild", "--models", ",".join(DEFAULT_MODELS)]
    code, _, err = vecloom(*change)
    assert code == 0 and ADVICE not in err
    assert vecloom("status")[2] == ""


@pytest.mark.parametrize(
    "models",
    [
        DEFAULT_MODELS,
        BOTH,
        FORMER_DEFAULT_MODELS[:2],
        ("qdrant-bm25",),
        (*FORMER_DEFAULT_MODELS, "bge-m3"),
        FORMER_DEFAULT_MODELS[::-1],
    ],
)
def test_who_chose_other_models_is_left_alone(models: tuple[str, ...]) -> None:
    assert advice_for(models) == ""
    assert advice_for([*FORMER_DEFAULT_MODELS]) != ""
