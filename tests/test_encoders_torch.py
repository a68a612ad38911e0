"""The PyTorch pass against sentence-transformers, and against itself in every other order."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.standins import (
    CUTS,
    WIDTH,
    make_coderank,
    make_legacy_coderank,
    make_m3,
    make_minilm,
    make_mistral,
    make_qwen,
)
from numpy.typing import NDArray

from tiny_bert import HIDDEN, make_tiny_bert
from vecloom.encoders import transformer
from vecloom.encoders.counters import make_counter
from vecloom.encoders.heads import DenseHead
from vecloom.encoders.packed_attention import repeated_heads
from vecloom.encoders.rows import prompts_of
from vecloom.encoders.tokens import TokenRows
from vecloom.encoders.torch_pass import TorchEncoder
from vecloom.encoders.transformer import TokenBudget, Transformer
from vecloom.errors import EncodingError, WeightsError
from vecloom.registry import ModelSpec, Registry
from vecloom.types import SparseRows

TEXTS = (
    "open the connection",
    "",
    "retry",
    "def retry(times: int) -> None:\n    for _ in range(times):\n        open(the, connection)\n",
    "the connection opens",
    "opening connections, retrying and running",
    "x" * 90,
    "retry the connection " * 9,
)

#: How each key's stand-in is made, and its pooling in sentence-transformers' words.
MAKERS: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "jina-code-embeddings-1.5b": (make_qwen, "lasttoken"),
    "jina-code-embeddings-0.5b": (make_qwen, "lasttoken"),
    "bge-m3": (make_m3, "cls"),
    "nomic-coderank": (make_coderank, "cls"),
    "e5-mistral-7b": (make_mistral, "lasttoken"),
    "bge-small": (make_minilm, "cls"),
    "gte-large": (make_minilm, "mean"),
    "all-miniLM-l6": (lambda folder: make_tiny_bert(folder, max_position_embeddings=256), "mean"),
}
LIMIT = 120


def tiny_row(key: str) -> ModelSpec:
    """A row of the registry, for its stand-in."""
    spec = Registry().find(key)
    width = HIDDEN if key == "all-miniLM-l6" else WIDTH
    cuts = CUTS if spec.matryoshka_dims else ()
    return replace(spec, dim=width, matryoshka_dims=cuts, recommended_tokens=LIMIT, max_tokens=LIMIT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    home = tmp_path_factory.mktemp("models")
    made = {key: make(home / key) for key, (make, _) in MAKERS.items()}
    with_end(made["e5-mistral-7b"])
    return made


def with_end(folder: Path) -> None:
    """A copy beside ``folder`` whose tokenizer ends every text: what a row's ``last_token`` stands for."""
    from tokenizers import Tokenizer, processors

    copy = folder.with_name(f"{folder.name}-ended")
    shutil.copytree(folder, copy)
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    specials = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=specials)
    tokenizer.save(str(copy / "tokenizer.json"))


def encoder_of(spec: ModelSpec, folder: Path, task: str | None = None) -> TorchEncoder:
    return TorchEncoder([spec], folder, "cpu", "fp32", threads=1, task=task)


def reference(folder: Path, pooling: str, **tokenizer: Any) -> Any:
    """The model in sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    if (ended := folder.with_name(f"{folder.name}-ended")).is_dir():
        folder = ended
    module = Transformer(str(folder), max_seq_length=LIMIT, processor_kwargs=tokenizer)
    pool = Pooling(module.get_embedding_dimension(), pooling_mode=pooling)
    return SentenceTransformer(modules=[module, pool, Normalize()], device="cpu")


def dense(found: Any, spec: ModelSpec) -> NDArray[np.float32]:
    vectors = found[0] if isinstance(found, tuple) else found
    return np.asarray(vectors[spec.vector_name])


@pytest.mark.parametrize("key", MAKERS)
def test_rows_give_what_sentence_transformers_gives(key: str, folders: Mapping[str, Path]) -> None:
    spec = tiny_row(key)
    model = reference(folders[key], MAKERS[key][1])
    for task in (None, *spec.prompts):
        encoder = encoder_of(spec, folders[key], task)
        prompts = prompts_of([spec], task)
        for role, found in (
            ("document", encoder.encode_documents(TEXTS)),
            ("query", encoder.encode_queries(TEXTS)),
        ):
            prompt = prompts["query" if role == "query" else "document"] if prompts else None
            expected = model.encode(list(TEXTS), prompt=prompt or None, batch_size=3)
            np.testing.assert_allclose(dense(found, spec), expected, atol=1e-5)


@pytest.mark.parametrize("dim", CUTS)
def test_matryoshka_dims_are_cut_and_normalised_again(dim: int, folders: Mapping[str, Path]) -> None:
    key = "jina-code-embeddings-1.5b"
    spec = replace(tiny_row(key), dim=dim)
    found = dense(encoder_of(spec, folders[key]).encode_documents(TEXTS), spec)
    prompt = spec.prompts["nl2code"]["document"]
    model = reference(folders[key], "lasttoken")
    expected = model.encode(list(TEXTS), prompt=prompt, truncate_dim=dim, normalize_embeddings=True)
    assert found.shape == (len(TEXTS), dim)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_either_padding_side_gives_the_same_as_none(folders: Mapping[str, Path]) -> None:
    key = "jina-code-embeddings-1.5b"
    spec = tiny_row(key)
    found = dense(encoder_of(spec, folders[key]).encode_queries(TEXTS), spec)
    for side in ("left", "right"):
        model = reference(folders[key], "lasttoken", padding_side=side)
        expected = model.encode(list(TEXTS), prompt=spec.prompts["nl2code"]["query"], batch_size=len(TEXTS))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("key", MAKERS)
def test_a_text_gives_the_same_bits_in_any_company_and_with_any_threads(
    key: str, folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_row(key)
    texts = [*TEXTS, *(("open the retry " * n)[: 5 * n] for n in range(1, 30))]
    alone, many = (TorchEncoder([spec], folders[key], "cpu", "fp32", threads=n) for n in (1, 3))
    together = dense(many.encode_documents(texts), spec)
    monkeypatch.setattr(transformer, "CPU_TOKENS", 100)
    small = TorchEncoder([spec], folders[key], "cpu", "fp32", threads=2)
    assert np.array_equal(dense(small.encode_documents(texts[::-1]), spec)[::-1], together)
    singly = np.concatenate([dense(alone.encode_documents([text]), spec) for text in texts])
    assert np.array_equal(singly, together)


@pytest.mark.parametrize("key", MAKERS)
def test_an_architecture_that_is_not_known_goes_in_batches_of_one_length(
    key: str, folders: Mapping[str, Path]
) -> None:
    spec = tiny_row(key)
    packed, plain = encoder_of(spec, folders[key]), encoder_of(spec, folders[key])
    plain.model._packed = False
    expected = dense(packed.encode_documents(TEXTS), spec)
    np.testing.assert_allclose(dense(plain.encode_documents(TEXTS), spec), expected, atol=1e-5)


def test_queries_and_documents_are_not_the_same_where_the_row_has_prompts(
    folders: Mapping[str, Path],
) -> None:
    for key in MAKERS:
        spec = tiny_row(key)
        encoder = encoder_of(spec, folders[key])
        apart = np.abs(
            dense(encoder.encode_queries(TEXTS), spec) - dense(encoder.encode_documents(TEXTS), spec)
        )
        assert (apart.max() > 0.01) == bool(spec.prompts), key


def test_a_legacy_config_gives_what_the_native_one_does(folders: Mapping[str, Path], tmp_path: Path) -> None:
    key = "nomic-coderank"
    spec = tiny_row(key)
    legacy = make_legacy_coderank(folders[key], tmp_path / "legacy")
    expected = dense(encoder_of(spec, folders[key]).encode_documents(TEXTS), spec)
    assert np.array_equal(dense(encoder_of(spec, legacy).encode_documents(TEXTS), spec), expected)


def m3_rows() -> list[ModelSpec]:
    rows = [Registry().find(key) for key in ("bge-m3", "bge-m3-sparse", "bge-m3-colbert")]
    return [
        replace(row, dim=WIDTH if row.dim else None, recommended_tokens=LIMIT, max_tokens=LIMIT)
        for row in rows
    ]


def test_three_vectors_come_out_of_one_pass(folders: Mapping[str, Path]) -> None:
    """Against the heads by hand, over hidden states by transformers itself."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    folder = folders["bge-m3"]
    encoder = TorchEncoder(m3_rows(), folder, "cpu", "fp32", threads=1)
    found, stats = encoder.encode_documents(TEXTS)
    sparse, matrices = found["bge-m3-sparse"], found["bge-m3-colbert"]
    assert isinstance(sparse, SparseRows) and isinstance(matrices, list)
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LIMIT)
    heads = {name: torch.load(folder / f"{name}.pt") for name in ("sparse_linear", "colbert_linear")}
    for row, text in enumerate(TEXTS):
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
            weights = (hidden @ heads["sparse_linear"]["weight"].T + heads["sparse_linear"]["bias"]).relu()
            vectors = hidden[1:] @ heads["colbert_linear"]["weight"].T + heads["colbert_linear"]["bias"]
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        expected: dict[int, float] = {}
        for number, weight in zip(ids, weights[:, 0].tolist(), strict=True):
            if number > 3 and weight > 0:
                expected[number] = max(weight, expected.get(number, 0.0))
        indices, values = sparse.row(row)
        assert indices.tolist() == sorted(expected)
        np.testing.assert_allclose(values, [expected[number] for number in sorted(expected)], atol=1e-5)
        np.testing.assert_allclose(matrices[row], vectors.numpy(), atol=1e-5)
    assert stats.tokens == sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    alone, _ = encoder.encode_documents(TEXTS, ["bge-m3-sparse"])
    assert list(alone) == ["bge-m3-sparse"]


def test_the_three_vectors_are_those_of_flagembedding(folders: Mapping[str, Path]) -> None:
    """Its answers to the same weights, as `tools/golden_m3.py` recorded them."""
    golden = json.loads((Path(__file__).parent / "golden" / "bge_m3.json").read_text())
    assert golden["limit"] == LIMIT
    encoder = TorchEncoder(m3_rows(), folders["bge-m3"], "cpu", "fp32", threads=1)
    found, _ = encoder.encode_documents(golden["texts"])
    sparse, matrices = found["bge-m3-sparse"], found["bge-m3-colbert"]
    assert isinstance(sparse, SparseRows) and isinstance(matrices, list)
    np.testing.assert_allclose(np.asarray(found["bge-m3"]), golden["dense"], atol=1e-5)
    for row, expected in enumerate(golden["sparse"]):
        indices, values = sparse.row(row)
        assert indices.tolist() == sorted(map(int, expected))
        np.testing.assert_allclose(values, [expected[str(index)] for index in indices], atol=1e-5)
    for matrix, expected in zip(matrices, golden["matrices"], strict=False):
        np.testing.assert_allclose(matrix, expected, atol=1e-5)


def test_queries_of_learned_weights_weigh_like_documents(folders: Mapping[str, Path]) -> None:
    encoder = TorchEncoder(m3_rows(), folders["bge-m3"], "cpu", "fp32", threads=1)
    queries, (documents, _) = encoder.encode_queries(TEXTS), encoder.encode_documents(TEXTS)
    one, other = queries["bge-m3-sparse"], documents["bge-m3-sparse"]
    assert isinstance(one, SparseRows) and isinstance(other, SparseRows)
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    terms = encoder.terms(TEXTS, {"bge-m3-sparse": other})["bge-m3-sparse"]
    assert len(terms) == len(other.indices) > 0
    assert all(isinstance(term, str) and term for term in terms)
    assert encoder.terms(TEXTS, {}) == {}


def test_what_is_too_long_is_cut_and_counted(folders: Mapping[str, Path]) -> None:
    key = "jina-code-embeddings-1.5b"
    spec = replace(tiny_row(key), max_tokens=40)
    encoder = encoder_of(spec, folders[key])
    _, stats = encoder.encode_documents(["x" * 100, "open"])
    prompt = make_counter([encoder.counting]).specials
    assert stats.cut_texts == 1 and stats.cut_tokens == prompt + 100 - 40
    assert make_counter([encoder.counting]).specials > 20, "the documents' prompt counts"


def test_the_models_own_positions_are_the_limit(folders: Mapping[str, Path]) -> None:
    spec = replace(tiny_row("bge-m3"), recommended_tokens=8192, max_tokens=8192)
    vectors, stats = encoder_of(spec, folders["bge-m3"]).encode_documents(["x" * 400])
    assert (stats.tokens, stats.cut_texts) == (128, 1)
    assert np.isfinite(dense((vectors, stats), spec)).all()


def test_no_texts_give_empty_arrays_and_load_nothing(folders: Mapping[str, Path]) -> None:
    encoder = TorchEncoder(m3_rows(), folders["bge-m3"], "cpu", "fp32", threads=1)
    found, stats = encoder.encode_documents([])
    assert np.asarray(found["bge-m3"]).shape == (0, WIDTH)
    assert len(found["bge-m3-sparse"]) == len(found["bge-m3-colbert"]) == stats.texts == 0
    assert "_model" not in vars(encoder.model)


def test_bf16_is_near(folders: Mapping[str, Path]) -> None:
    for key in MAKERS:
        spec = tiny_row(key)
        exact = dense(encoder_of(spec, folders[key]).encode_documents(TEXTS), spec)
        rough = TorchEncoder([spec], folders[key], "cpu", "bf16", threads=1)
        assert ((dense(rough.encode_documents(TEXTS), spec) * exact).sum(axis=1) > 0.98).all(), key


def test_nan_is_refused_with_the_text(folders: Mapping[str, Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(folders["nomic-coderank"], folder)
    tensors = load_file(folder / "model.safetensors")
    for tensor in tensors.values():
        tensor[...] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncodingError, match="gives NaN or infinity, as for the text 'open"):
        encoder_of(tiny_row("nomic-coderank"), folder).encode_documents(["open the connection"])


def test_nan_is_told_of_the_text_that_gives_it(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """One word's embedding is broken: the texts before it in the batch are not to blame."""
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer

    folder = tmp_path / "nan"
    shutil.copytree(folders["nomic-coderank"], folder)
    tensors = load_file(folder / "model.safetensors")
    (words,) = (name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[words][Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("config")] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncodingError, match=r"as for the text 'the config'; .*models verify nomic-coderank"):
        encoder_of(tiny_row("nomic-coderank"), folder).encode_documents(
            ["open the connection", "the config", "run"]
        )


def test_heads_give_a_text_the_same_bits_in_any_company(folders: Mapping[str, Path]) -> None:
    encoder = TorchEncoder(m3_rows(), folders["bge-m3"], "cpu", "fp32", threads=2)
    together, _ = encoder.encode_documents(TEXTS)
    sparse, matrices = together["bge-m3-sparse"], together["bge-m3-colbert"]
    assert isinstance(sparse, SparseRows) and isinstance(matrices, list)
    for row, text in enumerate(TEXTS):
        alone, _ = encoder.encode_documents([text])
        one, matrix = alone["bge-m3-sparse"], alone["bge-m3-colbert"]
        assert isinstance(one, SparseRows) and isinstance(matrix, list)
        assert [part.tolist() for part in one.row(0)] == [part.tolist() for part in sparse.row(row)]
        np.testing.assert_array_equal(matrix[0], matrices[row])


def test_few_texts_keep_every_thread_busy(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches a thread, unless they would be too small to be worth one."""
    run, batches = Transformer._run, []

    def counted(model: Transformer, sent: Any, span: tuple[int, int]) -> Any:
        batches.append(span)
        return run(model, sent, span)

    monkeypatch.setattr(Transformer, "_run", counted)
    encoder = TorchEncoder([tiny_row("bge-m3")], folders["bge-m3"], "cpu", "fp32", threads=2)
    encoder.encode_documents([f"open the connection {number} " * 30 for number in range(16)])
    assert len(batches) >= 4
    assert transformer._fair_share(np.full(16, 200), 2) == 800
    assert transformer._fair_share(np.full(16, 200), 8) == 256
    assert transformer._fair_share(np.array([7]), 2) == 256


def test_rows_of_one_model_share_it_in_memory(folders: Mapping[str, Path]) -> None:
    key = "jina-code-embeddings-1.5b"
    one, other = (encoder_of(tiny_row(key), folders[key], task) for task in ("nl2code", "qa"))
    assert one.model is other.model
    one.encode_documents(["open"])
    place = weakref.ref(one.model)
    del one, other
    gc.collect()
    assert place() is None, "and nobody keeps it"


def test_memory_that_a_head_lacks_halves_the_budget_too(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    spec = tiny_row("bge-m3")
    expected = dense(encoder_of(spec, folders["bge-m3"]).encode_documents(TEXTS), spec)
    encoder = encoder_of(spec, folders["bge-m3"])
    add, failures = DenseHead.add, [True, True]

    def scant(head: DenseHead, states: Any) -> None:
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        add(head, states)

    monkeypatch.setattr(DenseHead, "add", scant)
    before = encoder.model.budget.halvings
    np.testing.assert_array_equal(dense(encoder.encode_documents(TEXTS), spec), expected)
    assert encoder.model.budget.halvings == before + 2


def test_grouped_heads_are_the_same_one_by_one() -> None:
    """What devices without flash attention are given, against torch's own grouping."""
    import torch

    draw = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, heads, 9, 16, generator=draw) for heads in (6, 2, 2))
    attention = torch.nn.functional.scaled_dot_product_attention
    grouped = attention(query, key, value, is_causal=True, enable_gqa=True)
    repeated = attention(query, *repeated_heads(6, key, value, heads_at=1), is_causal=True)
    torch.testing.assert_close(repeated, grouped)


def test_a_text_without_a_token_is_refused(folders: Mapping[str, Path]) -> None:
    key = "jina-code-embeddings-1.5b"
    encoder = encoder_of(replace(tiny_row(key), prompts={}), folders[key])
    with pytest.raises(EncodingError, match=r"the text '' has no token for jina-code-1\.5b"):
        encoder.encode_documents(["open", ""])


def test_a_config_that_lacks_a_size_is_told(folders: Mapping[str, Path], tmp_path: Path) -> None:
    for said, problem in (
        ({"model_type": "distilbert", "dim": 64}, "says no hidden_size"),
        ({"model_type": "bert", "hidden_size": 64}, "says no max_position_embeddings"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said))
        with pytest.raises(WeightsError, match=problem):
            encoder_of(replace(tiny_row("bge-m3"), key="mine"), tmp_path)
    shutil.copytree(folders["nomic-coderank"], tmp_path / "wrong")
    config = json.loads((tmp_path / "wrong" / "config.json").read_text())
    (tmp_path / "wrong" / "config.json").write_text(json.dumps(config | {"intermediate_size": "wide"}))
    with pytest.raises(WeightsError, match=r"config\.json is none of 'nomic_bert' \("):
        encoder_of(tiny_row("nomic-coderank"), tmp_path / "wrong").encode_documents(["open"])


def test_a_missing_tensor_is_named(folders: Mapping[str, Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "less"
    shutil.copytree(folders["bge-m3"], folder)
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if name.endswith("query.weight"))
    save_file({k: v for k, v in tensors.items() if k != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=f"lacks 1 tensors, .*{lost.rpartition('layer')[2]}"):
        encoder_of(tiny_row("bge-m3"), folder).encode_documents(["open"])


def test_an_architecture_that_transformers_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such", "hidden_size": 64}')
    (tmp_path / "tokenizer.json").write_text("{}")
    encoder = encoder_of(tiny_row("bge-m3"), tmp_path)
    with pytest.raises(WeightsError, match="'no_such', and code of repositories is never run"):
        next(encoder.model.states(TokenRows(np.zeros(2, np.int32), np.array([0, 2]), 0, 0)))


def test_a_row_of_another_dimension_is_refused(folders: Mapping[str, Path]) -> None:
    with pytest.raises(EncodingError, match="the row says dim 65, the model gives 64"):
        encoder_of(replace(tiny_row("bge-m3"), dim=65), folders["bge-m3"])


def test_a_budget_is_halved_where_memory_runs_out_and_finds_its_way_up() -> None:
    budget = TokenBudget(1000)
    assert budget.failed() and budget.tokens == 500
    assert budget.failed() and budget.tokens == 250
    for _ in range(200):
        budget.succeeded()
    assert budget.tokens == 1000 and budget.halvings == 2
    while budget.failed():
        pass
    assert budget.tokens == 1


class ScantMemory:
    """A model that has memory for so many tokens, and says what it was given."""

    def __init__(self, model: Any, tokens: int) -> None:
        self.model, self.tokens = model, tokens
        self.given: list[int] = []

    def __call__(self, **inputs: Any) -> Any:
        import torch

        size = inputs["input_ids"].numel()
        self.given.append(size)
        if size > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(**inputs)


def test_a_batch_without_memory_is_run_in_parts(folders: Mapping[str, Path]) -> None:
    spec = tiny_row("bge-m3")
    texts = [f"open {n} connections" for n in range(60)]
    expected = dense(encoder_of(spec, folders["bge-m3"]).encode_documents(texts), spec)
    encoder = encoder_of(spec, folders["bge-m3"])
    scant = ScantMemory(encoder.model._model, 100)
    vars(encoder.model).update(_model=scant, budget=TokenBudget(900))
    rows = encoder._tokenizer.rows(texts)
    head = DenseHead(spec, WIDTH)
    sent = transformer._Sent(rows, np.argsort(-rows.lengths, kind="stable"), 2, "cpu")
    for states in encoder.model._in_turn(sent):
        head.add(states)
    np.testing.assert_allclose(head.vectors(), expected, atol=1e-5)
    assert max(scant.given) > 100 and sorted(scant.given)[len(scant.given) // 2] <= 100
    scant.tokens = 3
    with pytest.raises(EncodingError, match=r"a text of \d+ tokens does not fit the memory of cpu"):
        list(encoder.model._in_turn(sent))
