"""The BERT pass against transformers' own BertModel and FastEmbed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fastembed_peers import colliding_words, exported
from tiny_bert import HIDDEN, make_tiny_bert, reference
from vecloom.encoders.bert import BertEncoder
from vecloom.encoders.counters import make_counter
from vecloom.encoders.tokens import equal_length_batches, shared_tokenizer
from vecloom.errors import ConfigError, EncodingError, WeightsError
from vecloom.registry import ModelSpec, Registry, Role
from vecloom.types import SparseRows

LIMIT = 20
GOLDEN_DENSE = (
    -0.01900277,
    0.0644789,
    -0.07973774,
    0.0014126,
    -0.10392005,
    -0.05128326,
    0.03142236,
    0.00983699,
)
GOLDEN_BM42 = (0.27652572, 0.48193121, 0.22371452, 0.23303918)
TEXTS = (
    "open the connection",
    "",
    "retry",
    "the",
    "running, runs and opening connections!",
    "don't re-open it; snake_case_name CamelCase [SEP] [MASK] ##ing",
    "Ünïcode İstanbul ΑΣ 日本語 e\u0301 \u200b \udc80",
    "x" * 120,
    "retry the connection " * 30,
    "opening opens open",
)


def rows(dim: int = HIDDEN, limit: int = LIMIT) -> tuple[ModelSpec, ModelSpec]:
    """The MiniLM rows as a user's config replaces them."""
    find = Registry().find
    dense = replace(find("qdrant-minilm-onnx"), dim=dim, max_tokens=limit)
    return dense, replace(find("qdrant-minilm-attention"), max_tokens=limit)


def dense_of(encoder: BertEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    found = encoder.encode_documents(texts)[0]["qdrant-minilm"]
    assert isinstance(found, np.ndarray)
    return found


def sparse_of(encoder: BertEncoder, texts: Sequence[str]) -> SparseRows:
    found = encoder.encode_documents(texts)[0]["minilm-attention"]
    assert isinstance(found, SparseRows)
    return found


def same_rows(left: SparseRows, right: SparseRows) -> bool:
    return (
        np.array_equal(left.indptr, right.indptr)
        and np.array_equal(left.indices, right.indices)
        and np.array_equal(left.values, right.values)
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def both(tiny: Path, cache: Path) -> BertEncoder:
    return BertEncoder(rows(), tiny, cache, threads=2)


def ids_of(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    tokens = shared_tokenizer(folder / "tokenizer.json", LIMIT).rows(texts)
    return [tokens.ids[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False)]


def test_dense_is_the_mean_of_the_last_hidden_states_scaled_to_length_one(
    tiny: Path, both: BertEncoder
) -> None:
    hidden, _ = reference(tiny, ids_of(tiny, TEXTS))
    means = np.array([states.mean(axis=0) for states in hidden])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(dense_of(both, TEXTS), expected, atol=2e-6)


def test_attention_is_the_first_row_of_the_last_layer_meaned_over_heads(
    tiny: Path, both: BertEncoder
) -> None:
    ids = ids_of(tiny, TEXTS)
    _, expected = reference(tiny, ids)
    forward = next(both._model.forwards(TEXTS, dense=True, attention=True))
    np.testing.assert_allclose(forward.attention, np.concatenate(expected), atol=2e-6)
    assert max(row.max() for row in expected) > 0.3, "the model attends to nothing: the test shows little"


@pytest.mark.parametrize("heads", [1, 8])
def test_other_shapes_pooling_and_lengths(heads: int, tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "m", num_attention_heads=heads, num_hidden_layers=1, hidden_size=32)
    spec = replace(rows(32)[0], pooling="cls", normalise=False)
    hidden, _ = reference(folder, ids_of(folder, TEXTS))
    encoder = BertEncoder([spec], folder, tmp_path, threads=1)
    np.testing.assert_allclose(dense_of(encoder, TEXTS), [states[0] for states in hidden], atol=1e-5)


def test_a_text_gives_the_same_bits_in_any_company_and_with_any_threads(tiny: Path, cache: Path) -> None:
    alone, many = (BertEncoder(rows(), tiny, cache, threads=n) for n in (1, 4))
    texts = [*TEXTS * 3, *(f"open {n} connections" for n in range(200))]
    together, turned = dense_of(many, texts), dense_of(many, texts[::-1])[::-1]
    assert np.array_equal(together, turned)
    assert np.array_equal(together[:30], np.concatenate([dense_of(alone, [text]) for text in texts[:30]]))
    weighed = sparse_of(many, texts)
    for row, text in enumerate(texts[:30]):
        for got, expected in zip(sparse_of(alone, [text]).row(0), weighed.row(row), strict=True):
            assert np.array_equal(got, expected)


def test_one_output_alone_gives_what_both_give(tiny: Path, cache: Path, both: BertEncoder) -> None:
    dense, sparse = rows()
    only_dense = BertEncoder([dense], tiny, cache, threads=1)
    only_sparse = BertEncoder([sparse], tiny, cache, threads=1)
    assert np.array_equal(dense_of(only_dense, TEXTS), dense_of(both, TEXTS))
    assert same_rows(sparse_of(only_sparse, TEXTS), sparse_of(both, TEXTS))
    found, _ = both.encode_documents(TEXTS, ["minilm-attention"])
    assert list(found) == ["minilm-attention"]


def test_a_sparse_choice_needs_no_last_layer(tiny: Path, cache: Path, tmp_path: Path) -> None:
    """Shown by taking the last layer's own weights away, the query and key of its attention excepted."""
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "cut"
    shutil.copytree(tiny, folder)
    kept = ("encoder.layer.2.attention.self.query", "encoder.layer.2.attention.self.key.weight")
    tensors = load_file(folder / "model.safetensors")
    few = {n: t for n, t in tensors.items() if not n.startswith("encoder.layer.2.") or n.startswith(kept)}
    save_file(few, folder / "model.safetensors")
    sparse = BertEncoder(rows()[1:], folder, tmp_path, threads=1)
    assert same_rows(sparse_of(sparse, TEXTS), sparse_of(BertEncoder(rows(), tiny, cache, threads=1), TEXTS))
    with pytest.raises(WeightsError, match=r"hold no tensor 'encoder\.layer\.2\."):
        BertEncoder(rows()[:1], folder, tmp_path, threads=1).encode_documents(TEXTS)


def test_what_is_cut_is_counted(tiny: Path, cache: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    whole = [len(tokenizer.encode(text.replace("\udc80", "?"))) for text in TEXTS]
    _, stats = BertEncoder(rows(), tiny, cache, threads=1).encode_documents(TEXTS)
    assert stats.texts == len(TEXTS)
    assert stats.cut_texts == sum(length > LIMIT for length in whole) > 0
    assert stats.cut_tokens == sum(max(0, length - LIMIT) for length in whole)
    assert stats.tokens == stats.padded == sum(min(length, LIMIT) for length in whole)


def test_the_models_own_limit_holds_where_the_row_asks_for_more(tiny: Path, cache: Path) -> None:
    _, stats = BertEncoder(rows(limit=500), tiny, cache, threads=1).encode_documents(["a " * 300])
    assert (stats.tokens, stats.cut_tokens) == (64, 300 - 62)


def test_no_texts_give_empty_arrays_of_full_width(both: BertEncoder) -> None:
    assert dense_of(both, []).shape == (0, HIDDEN)
    assert len(sparse_of(both, [])) == 0
    queries = both.encode_queries([])
    assert isinstance(queries["qdrant-minilm"], np.ndarray)
    assert queries["qdrant-minilm"].shape == (0, HIDDEN)
    assert both.terms([], {"minilm-attention": sparse_of(both, [])}) == {"minilm-attention": []}
    assert both.terms(["open"], {}) == {}


def test_a_dense_query_is_encoded_as_a_document_is(both: BertEncoder) -> None:
    assert np.array_equal(np.asarray(both.encode_queries(TEXTS)["qdrant-minilm"]), dense_of(both, TEXTS))


def test_several_threads_on_one_query_give_the_same_bits(minilm_folder: Path, tmp_path: Path) -> None:
    spec = Registry().find("qdrant-minilm-onnx")
    alone, several = (BertEncoder([spec], minilm_folder, tmp_path, threads=n) for n in (1, 4))
    texts = [" ".join(["retry"] * words) for words in (1, 2, 5, 13, 40, 200)]
    found = np.asarray(several.encode_queries(texts)["qdrant-minilm"])
    assert np.array_equal(found, dense_of(alone, texts))


def test_sparse_queries_need_no_weights(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-weights"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").unlink()
    found = BertEncoder(rows(), folder, tmp_path, threads=1).encode_queries(["open"], ["minilm-attention"])
    assert len(found["minilm-attention"]) == 1


def specials(encoder: BertEncoder) -> int:
    """Tokens that every document of an encoder has."""
    return make_counter([encoder.counting]).specials


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_task_picks_the_prompts_and_the_budget_counts_them(tiny: Path, cache: Path, backend: str) -> None:
    prompts: Mapping[str, Mapping[Role, str]] = {
        "find": {"query": "open: ", "document": "retry: "},
        "ask": {"query": "run: ", "document": ""},
    }
    plain = BertEncoder([rows()[0]], tiny, cache, 1, backend)
    spec = replace(rows()[0], prompts=prompts)
    find, ask, first = (BertEncoder([spec], tiny, cache, 1, backend, task=t) for t in ("find", "ask", None))
    given = ["the connection", "run"]
    for encoder in (find, first):
        assert np.array_equal(dense_of(encoder, given), dense_of(plain, [f"retry: {text}" for text in given]))
        assert specials(encoder) == specials(plain) + 2
    assert np.array_equal(dense_of(ask, given), dense_of(plain, given))
    assert specials(ask) == specials(plain)
    for encoder, prompt in ((find, "open: "), (ask, "run: ")):
        asked, meant = encoder.encode_queries(given), plain.encode_queries([prompt + text for text in given])
        assert np.array_equal(np.asarray(asked["qdrant-minilm"]), np.asarray(meant["qdrant-minilm"]))


def test_prompts_of_a_row_precede_its_texts(tiny: Path, cache: Path, both: BertEncoder) -> None:
    spec = replace(rows()[0], prompts={"search": {"query": "open: ", "document": "the "}})
    encoder = BertEncoder([spec], tiny, cache, threads=1)
    assert np.array_equal(dense_of(encoder, ["connection"]), dense_of(both, ["the connection"]))
    query = np.asarray(encoder.encode_queries(["connection"])["qdrant-minilm"])
    assert np.array_equal(query, dense_of(both, ["open: connection"]))


def test_a_smaller_dimension_is_cut_and_scaled_again(tiny: Path, cache: Path, both: BertEncoder) -> None:
    spec = replace(rows()[0], dim=8, matryoshka_dims=(8, HIDDEN))
    cut = dense_of(BertEncoder([spec], tiny, cache, threads=1), TEXTS)
    expected = dense_of(both, TEXTS)[:, :8]
    np.testing.assert_allclose(cut, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


def test_rows_that_do_not_fit_the_model_or_each_other(tiny: Path, tmp_path: Path) -> None:
    dense, sparse = rows()
    with pytest.raises(EncodingError, match=f"says dim 384, the model gives {HIDDEN}"):
        BertEncoder(rows(384), tiny, tmp_path, threads=1)
    other = replace(dense, key="other", vector_name="other", pooling="cls")
    with pytest.raises(ConfigError, match="pool differently"):
        BertEncoder([dense, other], tiny, tmp_path, threads=1)
    with pytest.raises(ConfigError, match="not by 'last'"):
        BertEncoder([replace(dense, pooling="last")], tiny, tmp_path, threads=1)
    with pytest.raises(ConfigError, match="differ in prompts"):
        BertEncoder([dense, replace(sparse, prompts={"t": {"query": "q"}})], tiny, tmp_path, threads=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"model_type": "roberta"}, "model_type is 'roberta'"),
        ({"num_hidden_layers": None}, "'num_hidden_layers' is missing"),
    ],
)
def test_another_architecture_is_refused(
    change: dict[str, str | None], message: str, tiny: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny / "config.json").read_bytes()) | change
    kept = {key: value for key, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    with pytest.raises(WeightsError, match=message):
        BertEncoder(rows(), tmp_path, tmp_path, threads=1)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "other"])
def test_damaged_files_are_named(name: str, damage: str, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny, folder)
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "other": b"[1]"}[damage])
    with pytest.raises(WeightsError) as caught:
        BertEncoder(rows(), folder, tmp_path, threads=1).encode_documents(TEXTS)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_is_an_error_that_names_the_model(tiny: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(tiny, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"] = np.full(HIDDEN, np.nan, dtype=np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(EncodingError, match="nan"):
        BertEncoder(rows(), folder, tmp_path, threads=2).encode_documents(TEXTS)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_other_floats_and_of_a_headed_checkpoint(
    dtype: str, tiny: Path, tmp_path: Path, both: BertEncoder
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / dtype
    shutil.copytree(tiny, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({"bert." + n: t.astype(dtype) for n, t in tensors.items()}, folder / "model.safetensors")
    found = dense_of(BertEncoder(rows(), folder, tmp_path, threads=1), TEXTS)
    np.testing.assert_allclose(found, dense_of(both, TEXTS), atol=5e-3 if dtype == "float16" else 1e-6)


def test_the_graphs_file_is_kept_and_made_again_where_it_is_damaged(tiny: Path, tmp_path: Path) -> None:
    def encode() -> NDArray[np.float32]:
        return dense_of(BertEncoder(rows()[:1], tiny, tmp_path, threads=1), TEXTS)

    first = encode()
    (path,) = (tmp_path / "graphs").iterdir()
    whole, made = path.read_bytes(), path.stat().st_mtime_ns
    assert np.array_equal(encode(), first)
    assert path.stat().st_mtime_ns == made
    for damaged in (b"", whole[:-100], whole[:50], whole.replace(b"Gelu", b"Relu"), b"[]\n"):
        path.write_bytes(damaged)
        assert np.array_equal(encode(), first)
        assert path.read_bytes() == whole
    assert [path] == list((tmp_path / "graphs").iterdir())


def test_a_cache_that_cannot_be_written_changes_nothing(
    tiny: Path, tmp_path: Path, both: BertEncoder
) -> None:
    (tmp_path / "graphs").write_text("a file where the folder belongs")
    found = dense_of(BertEncoder(rows(), tiny, tmp_path, threads=1), ["open"])
    np.testing.assert_allclose(found, dense_of(both, ["open"]), atol=1e-6)


def test_batches_hold_one_length_and_every_text_once() -> None:
    lengths = np.array([7, 3, 7, 500, 3, 7, 7, 2])
    batches = [batch.tolist() for batch in equal_length_batches(lengths, budget=21)]
    assert batches == [[3], [0, 2, 5], [6], [1, 4], [7]]
    assert list(equal_length_batches(np.zeros(0, dtype=np.int64), budget=21)) == []


def test_equal_to_fastembed(tiny: Path, tmp_path: Path, both: BertEncoder) -> None:
    """Dense to rounding; BM42's indices exactly, for documents and queries, its values within 1e-5."""
    from fastembed import SparseTextEmbedding, TextEmbedding

    first, second = colliding_words()
    texts = [text.replace("\udc80", "") for text in TEXTS]
    texts += [f"{first} open {second}", f"{second} open {first}", f"{first} {first}"]
    folder = exported(tmp_path / "dense", tiny, LIMIT, attention=False)
    peer = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(folder))
    np.testing.assert_allclose(dense_of(both, texts), np.array(list(peer.embed(texts))), atol=2e-6)
    folder = exported(tmp_path / "bm42", tiny, LIMIT, attention=True)
    bm42 = SparseTextEmbedding("Qdrant/bm42-all-minilm-l6-v2-attentions", specific_model_path=str(folder))
    found = sparse_of(both, texts)
    for row, expected in enumerate(bm42.embed(texts)):
        order = np.argsort(expected.indices)
        assert np.array_equal(found.row(row)[0], expected.indices[order])
        np.testing.assert_allclose(found.row(row)[1], expected.values[order], atol=1e-5)
    queries = both.encode_queries(texts)["minilm-attention"]
    assert isinstance(queries, SparseRows)
    for row, expected in enumerate(bm42.query_embed(texts)):
        assert np.array_equal(queries.row(row)[0], np.sort(expected.indices))
        assert set(queries.row(row)[1].tolist()) <= {1.0}


def test_golden_values_of_the_real_model(minilm_folder: Path, cache: Path) -> None:
    """Recorded from sentence-transformers (dense) and FastEmbed (BM42) with the same weights."""
    encoder = BertEncoder(Registry().select(["minilm", "bm42"]), minilm_folder, cache, threads=2)
    text = "How to open a TCP connection in python"
    np.testing.assert_allclose(dense_of(encoder, [text])[0, :8], GOLDEN_DENSE, atol=1e-6)
    found = sparse_of(encoder, [text])
    assert encoder.terms([text], {"minilm-attention": found}) == {
        "minilm-attention": ["python", "tcp", "connect", "open"]
    }
    assert found.indices.tolist() == [683459885, 960218873, 1223115691, 2091876921]
    np.testing.assert_allclose(found.values, GOLDEN_BM42, atol=1e-6)
