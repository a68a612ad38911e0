"""What the public API says of arguments of the wrong type: which one, what was given, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecloom
from vecloom.config import Config
from vecloom.errors import UsageError
from vecloom.recipe import Asked

WORDS = ["bm25-code"]

#: A value where a list of strings is meant -> what is said of it, behind the argument's name.
NO_LISTS: list[tuple[Any, str]] = [
    ("a string", r" is one string; give a list of strings: {}=\['a string'\]"),
    (b"bytes", r" is b'bytes' \(bytes\); give a list of strings"),
    (None, r" is None; give a list of strings"),
    (5, r" is 5 \(int\)"),
    ({"a": "b"}, r" is {{'a': 'b'}} \(dict\)"),
    ({"a"}, r" is {{'a'}} \(set\)"),
    (np.array("a"), r" is array\('a'.* \(ndarray\)"),
    (["a", "b", "c", None], r"\[3\] is None; give a list of strings"),
    (["a", 7], r"\[1\] is 7 \(int\)"),
    ([b"a"], r"\[0\] is b'a' \(bytes\)"),
    ([float("nan")], r"\[0\] is nan \(float\)"),
    ([["a"]], r"\[0\] is \['a'\] \(list\)"),
]


def encode(texts: Any) -> Any:
    return vecloom.encode_texts(texts, WORDS)


def encode_queries(texts: Any) -> Any:
    return vecloom.encode_texts(texts, WORDS, role="query")


@pytest.fixture
def index(tmp_path: Path, tiny_config: Config) -> Iterator[vecloom.Index]:
    with vecloom.Index.create(tmp_path / "index", WORDS, config=tiny_config) as made:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "a.md").write_text("# Looms\n\nThe shuttle flies.\n", "utf-8")
        made.add(tmp_path / "tree")
        yield made


@pytest.mark.parametrize(("value", "said"), NO_LISTS)
@pytest.mark.parametrize("call", [encode, encode_queries, vecloom.generate_sparse_vectors])
def test_texts_are_a_list_of_strings(call: Callable[[Any], Any], value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"^texts{said.format('texts')}") as refused:
        call(value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("value", "said"), NO_LISTS)
def test_models_are_a_list_of_strings(tmp_path: Path, tiny_config: Config, value: Any, said: str) -> None:
    (tmp_path / "tree").mkdir()
    calls: list[Callable[[], Any]] = [
        lambda: vecloom.encode_texts(["a"], value, config=tiny_config),
        lambda: vecloom.TextEncoder(value, config=tiny_config),
        lambda: vecloom.Index.create(tmp_path / "index", value, config=tiny_config),
        lambda: vecloom.Index.prepare(tmp_path / "index", Asked(value), config=tiny_config),
        lambda: vecloom.embed(tmp_path / "pack", tmp_path / "tree", models=value, config=tiny_config),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=f"^models{said.format('models')}"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]


@pytest.mark.parametrize(
    "texts",
    [
        ("one", "two"),
        (text for text in ("one", "two")),
        np.array(["one", "two"]),
        np.array(["one", "two"], object),
        [np.str_("one"), "two"],
    ],
)
def test_other_lists_of_strings_are_taken(texts: Any) -> None:
    found, wanted = encode(texts).vectors["bm25-code"], encode(["one", "two"]).vectors["bm25-code"]
    for part in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))


def test_no_texts_give_no_vectors() -> None:
    assert len(encode([]).vectors["bm25-code"]) == len(encode(()).vectors["bm25-code"]) == 0


@pytest.mark.parametrize("role", ["documents", None, 3])
def test_a_role_is_a_document_or_a_query(role: Any) -> None:
    with pytest.raises(UsageError, match=r"^role is .*; it is 'document' or 'query'"):
        vecloom.encode_texts(["a"], WORDS, role=role)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": None}, "text is None; give a string"),
        ({"text": ["a"]}, r"text is \['a'\] \(list\); give a string"),
        ({"text": b"a"}, r"text is b'a' \(bytes\)"),
        ({"limit": "5"}, r"limit is '5' \(str\); give a whole number"),
        ({"limit": True}, r"limit is True \(bool\)"),
        ({"limit": 2.0}, r"limit is 2.0 \(float\)"),
        ({"limit": None}, "limit is None"),
        ({"limit": 0}, "limit is 1 to 1000.*not 0"),
        ({"per_file": "1"}, r"per_file is '1' \(str\)"),
        ({"per_file": 0}, "per-file from 1"),
        ({"rerank": 5}, r"rerank is 5 \(int\)"),
        ({"rerank": "msmarco-distil", "rerank_top": "5"}, r"rerank_top is '5' \(str\)"),
        ({"using": "bm25-code"}, r"using is one string; .*: using=\['bm25-code'\]"),
        ({"using": [None]}, r"using\[0\] is None"),
        ({"without": "paths"}, "without is one string"),
        ({"fusion": 3}, r"fusion is 3 \(int\)"),
        ({"weights": "bm25"}, r"weights is 'bm25' \(str\); write weights="),
        ({"weights": {"bm25-code": "2"}}, r"weights\['bm25-code'\] is '2' \(str\); give a number"),
        ({"weights": {"bm25-code": None}}, r"weights\['bm25-code'\] is None"),
        ({"weights": {"bm25-code": float("nan")}}, "the weight of bm25-code is nan"),
        ({"weights": {"bm25-code": -1}}, "the weight of bm25-code is -1"),
        ({"weights": {3: 1.0}}, r"weights has the key 3 \(int\)"),
        ({"filters": "path"}, r"filters is 'path' \(str\); write filters="),
        ({"filters": {"path": None}}, r"filters\['path'\] is None; give a list of strings"),
        ({"filters": {"path": 5}}, r"filters\['path'\] is 5"),
        ({"filters": {"path": ["a", None]}}, r"filters\['path'\]\[1\] is None"),
        ({"filters": {"paths": "a"}}, "no filter is called 'paths'"),
    ],
)
def test_a_search_names_the_argument(index: vecloom.Index, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        index.search(**{"text": "shuttle", **arguments})
    assert "\n" not in str(refused.value)


def test_a_search_takes_numbers_of_numpy_and_tuples(index: vecloom.Index) -> None:
    limit: Any = np.int64(3)
    weights: Any = {"bm25-code": np.float32(2)}
    hits = index.search("shuttle", limit, using=("bm25-code",), weights=weights)
    assert [hit.path for hit in hits] == ["a.md"]
    assert index.search(np.str_("shuttle"), filters={"path": ("a.*",)})


def test_a_query_with_half_a_surrogate_pair_is_searched(index: vecloom.Index) -> None:
    assert [hit.path for hit in index.search("shuttle \ud83d")] == ["a.md"]
    assert len(encode(["a \ud83d b"]).vectors["bm25-code"]) == 1


def test_paths_and_names(tmp_path: Path, tiny_config: Config, index: vecloom.Index) -> None:
    calls: list[tuple[Callable[..., Any], str]] = [
        (lambda none: vecloom.Index.open(none, config=tiny_config), "place is None; give a path"),
        (lambda none: vecloom.Index.create(none, WORDS, config=tiny_config), "place is None"),
        (lambda none: vecloom.Index.rebuild(none, Asked(), config=tiny_config), "place is None"),
        (index.add, r"roots\[0\] is None; give a path"),
        (lambda none: index.add(tmp_path, none), r"roots\[1\] is None"),
        (lambda none: index.add(tmp_path, source=5), r"source is 5 \(int\)"),  # type: ignore[arg-type]
        (lambda none: index.add([tmp_path]), r"roots\[0\] is \[.*; give each path"),  # type: ignore[arg-type]
        (lambda none: index.add("a\0b"), r"roots\[0\] is .*has no NUL"),
        (index.remove, "source is None"),
        (lambda none: vecloom.embed(none, tmp_path, config=tiny_config), "out is None"),
        (lambda none: vecloom.embed(tmp_path / "pack", none, config=tiny_config), r"roots\[0\] is None"),
        (
            lambda none: vecloom.embed(tmp_path / "pack", chunk_tokens="9", config=tiny_config),  # type: ignore[arg-type]
            r"chunk_tokens is '9' \(str\)",
        ),
        (lambda none: vecloom.load(none, tmp_path / "other", config=tiny_config), "pack is None"),
        (lambda none: vecloom.export(none, "jsonl", "out", config=tiny_config), "place is None"),
        (lambda none: vecloom.export(tmp_path, "jsonl", none, config=tiny_config), "out is None"),
        (lambda none: vecloom.export(tmp_path, none, "out", config=tiny_config), "form is None"),
        (
            lambda none: vecloom.export(tmp_path / "index", "jsonl", "o", using="a", config=tiny_config),
            "using is one string",
        ),
        (lambda none: vecloom.Reranker(none, config=tiny_config), "model is None"),
        (lambda none: Asked(how=none), "how is None; give a vecloom.How"),
        (lambda none: Asked(avg_len="many"), r"avg_len is 'many' \(str\)"),  # type: ignore[arg-type]
    ]
    for call, said in calls:
        with pytest.raises(UsageError, match=said) as refused:
            call(None)
        assert "\n" not in str(refused.value)


def test_a_reranker_takes_a_query_and_a_list(tiny_config: Config) -> None:
    key = next(spec.key for spec in tiny_config.registry().rows.values() if spec.kind == "reranker")
    reranker = vecloom.Reranker(key, config=tiny_config)
    reranker.__dict__["_model"] = None  # nothing is loaded for what is refused
    with pytest.raises(UsageError, match="query is None"):
        reranker.scores(None, ["a"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="texts is one string"):
        reranker.scores("a", "b")
