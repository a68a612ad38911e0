"""V4's interface end to end: the seed's examples, the exported files, Qdrant without vecloom."""

from __future__ import annotations

import json
import logging
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.standins import CUTS, WIDTH, make_coderank, make_m3, make_qwen, make_reranker

from v4_chunks import CODE, TEXTS, make_chunked
from vecloom.compat import export
from vecloom.compat.v4 import (
    EnsembleConfig,
    KaggleExportConfig,
    KaggleGPUConfig,
    RerankingConfig,
    UltimateKaggleEmbedderV4,
    main,
)
from vecloom.errors import StoreError, StoreFullError, UsageError
from vecloom.installation import describe_extra
from vecloom.standalone import TextEncoder

#: Of the seed, but for the folder of the chunks and what it does not import.
EXAMPLE_1 = """
from processor.kaggle_ultimate_embedder_v4 import UltimateKaggleEmbedderV4

embedder = UltimateKaggleEmbedderV4(
    model_name="jina-code-embeddings-1.5b",
    companion_dense_models=["bge-m3", "nomic-coderank"]
)

embedder.load_chunks_from_processing(chunks)
embedder.generate_embeddings_kaggle_optimized()
embedder.export_for_local_qdrant()
"""
EXAMPLE_2 = """
from processor.kaggle_ultimate_embedder_v4 import UltimateKaggleEmbedderV4

embedder = UltimateKaggleEmbedderV4(
    model_name="jina-code-embeddings-1.5b",
    companion_dense_models=[
        "bge-m3", 
        "nomic-coderank", 
        "qdrant-minilm-onnx"  # NEW
    ],
    enable_sparse=True,  # NEW parameter
    sparse_models=["qdrant-bm25", "qdrant-minilm-attention"]  # NEW
)

embedder.load_chunks_from_processing(chunks)
results = embedder.generate_embeddings_kaggle_optimized()

# Results now include sparse vectors
print(f"Dense models: {list(embedder.embeddings_by_model.keys())}")
print(f"Sparse vectors: {len(embedder.sparse_vectors)}")

embedder.export_for_local_qdrant()
"""  # noqa: W291
EXAMPLE_3 = """
from processor.kaggle_ultimate_embedder_v4 import KaggleGPUConfig, UltimateKaggleEmbedderV4

# Ultra-fast embedding with Qdrant ONNX model
embedder = UltimateKaggleEmbedderV4(
    model_name="qdrant-minilm-onnx",  # ONNX-optimized
    gpu_config=KaggleGPUConfig(
        backend="onnx",  # Force ONNX backend
        base_batch_size=128  # Large batch for small model
    )
)

# Expected: 500-800 chunks/sec on T4 x2
embedder.load_chunks_from_processing(chunks)
embedder.generate_embeddings_kaggle_optimized()
"""

DENSE = ("jina-code-embeddings-1.5b", "bge-m3", "nomic-coderank")
PREFIX = "ultimate_embeddings_v4"
ON_CPU = KaggleGPUConfig(device_count=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """A config file: the real MiniLM, and tiny random models in place of the large ones."""
    home = tmp_path_factory.mktemp("v4")
    make_qwen(home / "jina")
    make_m3(home / "m3", max_position_embeddings=514)
    make_coderank(home / "coderank")
    make_reranker(home / "reranker")
    row = '[models."{}"]\nfolder = "{}"\nmax_tokens = 512\nrecommended_tokens = 256\n'
    rows = [row.format(key, folder) for key, folder in zip(DENSE, ("jina", "m3", "coderank"), strict=True)]
    rows = [f"{text}dim = {WIDTH}\n" for text in rows]
    rows[0] += f"matryoshka_dims = {list(CUTS)}\n"
    rows.append('[models."ms-marco-v2"]\nfolder = "reranker"\nmax_tokens = 128\n')
    rows.append(f'[weights.folders]\nqdrant-minilm-onnx = "{minilm_folder}"\n')
    (home / "config.toml").write_text("\n".join(rows), "utf-8")
    return home


@pytest.fixture
def chunks(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of chunks; the working folder is another one, and the settings are those of ``home``."""
    monkeypatch.setenv("VECLOOM_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("VECLOOM_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("VECLOOM_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return str(make_chunked(tmp_path / "given"))


def run_example(code: str, chunks: str) -> UltimateKaggleEmbedderV4:
    names: dict[str, Any] = {"chunks": chunks}
    exec(compile(code, "the seed's example", "exec"), names)
    embedder: UltimateKaggleEmbedderV4 = names["embedder"]
    return embedder


def lines_of(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def embedded(chunks: str, **settings: Any) -> UltimateKaggleEmbedderV4:
    """An embedder that has encoded the chunks."""
    settings = {"model_name": "qdrant-minilm-onnx", **settings}
    embedder = UltimateKaggleEmbedderV4(**settings)
    embedder.load_chunks_from_processing(chunks)
    embedder.generate_embeddings_kaggle_optimized()
    return embedder


def test_v4_code_with_one_model(chunks: str) -> None:
    """What V4's own users wrote: its names, its keys, its form of a point."""
    from processor.kaggle_ultimate_embedder_v4 import KaggleGPUConfig as Gpu
    from processor.kaggle_ultimate_embedder_v4 import UltimateKaggleEmbedderV4 as Embedder

    embedder = Embedder(model_name="nomic-coderank", gpu_config=Gpu(device_count=0))
    loaded = embedder.load_chunks_from_processing(chunks_dir=chunks)
    assert {*loaded} >= {
        "collections_loaded",
        "total_chunks_loaded",
        "chunks_by_collection",
        "loading_errors",
        "memory_usage_mb",
        "preprocessing_stats",
        "sparse_vectors_generated",
        "modal_hint_counts",
        "skipped_chunks",
    }
    assert (loaded["collections_loaded"], loaded["total_chunks_loaded"]) == (2, 4)
    assert loaded["chunks_by_collection"] == {"Docling": 2, "my docs": 2} and not loaded["loading_errors"]
    results = embedder.generate_embeddings_kaggle_optimized(enable_monitoring=True, save_intermediate=False)
    assert {*results} >= {
        "total_embeddings_generated",
        "embedding_dimension",
        "processing_time_seconds",
        "chunks_per_second",
        "gpu_count",
        "optimal_batch_size",
        "total_batches",
        "model_used",
        "backend",
        "precision",
        "embedding_memory_mb",
        "memory_per_chunk_kb",
        "kaggle_optimized",
        "performance_stats",
    }
    assert (results["total_embeddings_generated"], results["embedding_dimension"]) == (4, WIDTH)
    assert (results["model_used"], results["backend"], results["precision"]) == (
        "nomic-coderank",
        "pytorch",
        "fp32",
    )
    assert (results["gpu_count"], results["optimal_batch_size"]) == (0, 64)
    assert embedder.embeddings is not None and embedder.embeddings.shape == (4, WIDTH)
    assert embedder.embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedder.embeddings, axis=1), 1, atol=1e-5)
    assert embedder.sparse_vectors == [None] * 4 and embedder.raw_chunk_texts == list(TEXTS)
    assert (embedder.device, embedder.device_count, embedder.model_name) == ("cpu", 0, "nomic-coderank")
    first, *_ = embedder.search_with_reranking("retry", top_k=2)
    assert [*first] == ["rank", "score", "text", "metadata", "chunk_id"] and first["rank"] == 1
    paths = embedder.export_for_local_qdrant()
    assert [*paths] == ["numpy", "jsonl", "faiss", "metadata", "texts", "stats", "upload_script"]
    points = lines_of(paths["jsonl"])
    np.testing.assert_array_equal([point["vector"] for point in points], embedder.embeddings)
    assert [point["payload"]["global_chunk_id"] for point in points] == [0, 1, 2, 3]


def test_the_seeds_first_example_dense_only(chunks: str) -> None:
    embedder = run_example(EXAMPLE_1, chunks)
    assert [*embedder.embeddings_by_model] == list(DENSE)
    assert embedder.embeddings is embedder.embeddings_by_model[DENSE[0]]
    assert {matrix.shape for matrix in embedder.embeddings_by_model.values()} == {(4, WIDTH)}
    point, *_ = lines_of(f"{PREFIX}_qdrant.jsonl")
    assert [*point["vector"]] == ["jina-code-1.5b", "bge-m3", "nomic-coderank"]
    for key, file in (("bge-m3", f"{PREFIX}_bge-m3_embeddings.npy"), (DENSE[0], f"{PREFIX}_embeddings.npy")):
        np.testing.assert_array_equal(np.load(file), embedder.embeddings_by_model[key])


def test_the_seeds_second_example_dense_and_sparse(chunks: str, capsys: pytest.CaptureFixture[str]) -> None:
    embedder = run_example(EXAMPLE_2, chunks)
    assert capsys.readouterr().out.splitlines() == [
        f"Dense models: {[*DENSE, 'qdrant-minilm-onnx']}",
        "Sparse vectors: 4",
    ]
    for entry in embedder.sparse_vectors:
        assert entry is not None and [*entry] == ["bm25", "minilm-attention"]
        assert all([*vector] == ["indices", "values", "tokens"] for vector in entry.values())
    point = lines_of(f"{PREFIX}_qdrant.jsonl")[3]
    assert {*point["vector"]} == {
        "jina-code-1.5b",
        "bge-m3",
        "nomic-coderank",
        "qdrant-minilm",
        "bm25",
        "minilm-attention",
    }
    assert sorted(embedder.sparse_vectors[3]["bm25"]["tokens"]) == ["connect", "open", "python", "tcp"]  # type: ignore[index]
    assert [*point["vector"]["bm25"]] == ["indices", "values"]
    assert "sparse_vector" not in point["payload"]
    sidecar = lines_of(f"{PREFIX}_sparse.jsonl")
    assert [line["id"] for line in sidecar] == [one["id"] for one in lines_of(f"{PREFIX}_qdrant.jsonl")]
    assert sidecar[0]["sparse_vectors"] == embedder.sparse_vectors[0]


def test_the_seeds_third_example_onnx(chunks: str) -> None:
    embedder = run_example(EXAMPLE_3, chunks)
    assert embedder.embeddings is not None and embedder.embeddings.shape == (4, 384)
    assert (embedder.processing_stats["backend"], embedder.processing_stats["optimal_batch_size"]) == (
        "onnx",
        128,
    )
    found = embedder.search_with_reranking("open a TCP connection", top_k=2)
    assert [hit["rank"] for hit in found] == [1, 2] and found[0]["text"] == TEXTS[3]
    assert found[0]["score"] > 0.8 and found[0]["metadata"]["collection_alias"] == "my_docs"


def test_prompts_are_put_before_texts_and_code_keeps_its_lines(chunks: str) -> None:
    embedder = embedded(chunks, model_name=DENSE[0], gpu_config=ON_CPU)
    assert embedder.chunk_texts[1] == CODE
    encoder = TextEncoder([DENSE[0]])
    expected = encoder.documents(embedder.chunk_texts).vectors["jina-code-1.5b"]
    np.testing.assert_array_equal(embedder.embeddings, np.asarray(expected))
    query = encoder.queries(["retry"])["jina-code-1.5b"]
    np.testing.assert_array_equal(embedder.primary_model.encode_query(["retry"]), np.asarray(query))
    assert not np.allclose(embedder.primary_model.encode(["retry"]), np.asarray(query))


def test_a_dimension_is_cut(chunks: str) -> None:
    embedder = embedded(chunks, model_name=DENSE[0], matryoshka_dim=16, companion_dense_models=["bge-m3"])
    assert {key: matrix.shape[1] for key, matrix in embedder.embeddings_by_model.items()} == {
        DENSE[0]: 16,
        "bge-m3": WIDTH,
    }
    assert embedder.chunks_metadata[0]["embedding_dimension"] == 16
    assert embedder.model_config.vector_dim == 16
    with pytest.raises(
        UsageError, match=r"jina-code-embeddings-1\.5b has no dimension '17'; it offers 8, 16"
    ):
        UltimateKaggleEmbedderV4(DENSE[0], matryoshka_dim=17)
    with pytest.raises(UsageError, match="matryoshka_dim=16 cuts model_name, which an ensemble replaces"):
        UltimateKaggleEmbedderV4(DENSE[0], matryoshka_dim=16, enable_ensemble=True)


def test_every_file_is_what_v4_wrote(chunks: str) -> None:
    import faiss

    embedder = embedded(chunks)
    paths = embedder.export_for_local_qdrant()
    suffixes = ("embeddings.npy", "qdrant.jsonl", "index.faiss", "metadata.json", "texts.json", "stats.json")
    assert {Path(path).name for path in paths.values()} == {
        f"{PREFIX}_{suffix}" for suffix in (*suffixes, "upload_script.py")
    }
    assert sorted(path.name for path in Path.cwd().iterdir()) == sorted(
        Path(path).name for path in paths.values()
    ), "nothing else is left"
    np.testing.assert_array_equal(np.load(paths["numpy"]), embedder.embeddings)
    index = faiss.read_index(paths["faiss"])
    assert (index.ntotal, index.d, index.metric_type) == (4, 384, faiss.METRIC_INNER_PRODUCT)
    _, nearest = index.search(embedder.embeddings, 1)
    assert nearest[:, 0].tolist() == [0, 1, 2, 3]
    assert json.loads(Path(paths["texts"]).read_text("utf-8")) == embedder.chunk_texts
    assert json.loads(Path(paths["metadata"]).read_text("utf-8")) == embedder.chunks_metadata
    stats = json.loads(Path(paths["stats"]).read_text("utf-8"))
    assert stats["embedding_stats"]["total_embeddings"] == 4
    assert stats["model_config"]["hf_model_id"] == "Qdrant/all-MiniLM-L6-v2-onnx"
    assert stats["processing_performance"]["model_used"] == "qdrant-minilm-onnx"
    point = lines_of(paths["jsonl"])[1]
    payload = point["payload"]
    assert (payload["text"], payload["text_preview"]) == (CODE, CODE)
    assert payload["model_info"] == {
        "name": "qdrant-minilm-onnx",
        "hf_model_id": "Qdrant/all-MiniLM-L6-v2-onnx",
        "dimension": 384,
        "version": "v4",
    }
    again = embedded(chunks)
    assert [line["id"] for line in lines_of(again._export_qdrant_jsonl("again.jsonl"))] == [
        line["id"] for line in lines_of(paths["jsonl"])
    ]


def test_what_is_not_asked_for_is_not_written(chunks: str, tmp_path: Path) -> None:
    config = KaggleExportConfig(
        export_numpy=False,
        export_faiss=False,
        include_full_metadata=False,
        include_processing_stats=False,
        include_model_info=False,
        working_dir=str(tmp_path / "new" / "folder"),
        output_prefix="mine",
    )
    embedder = embedded(chunks, export_config=config)
    paths = embedder.export_for_local_qdrant()
    assert [*paths] == ["jsonl", "texts", "upload_script"]
    assert paths["jsonl"] == str(tmp_path / "new" / "folder" / "mine_qdrant.jsonl")
    assert "model_info" not in lines_of(paths["jsonl"])[0]["payload"]
    config.export_jsonl = False
    assert [*embedder.export_for_local_qdrant()] == ["texts"]


def test_without_faiss_the_index_is_left_out_with_the_command_that_adds_it(
    chunks: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = embedded(chunks)
    monkeypatch.setattr(export, "find_spec", lambda module: None)
    assert "faiss" not in embedder.export_for_local_qdrant()
    assert "no FAISS index is written: " in caplog.text and describe_extra("faiss") in caplog.text


def test_a_file_is_whole_or_not_there(chunks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = embedded(chunks)
    paths = embedder.export_for_local_qdrant()
    before = Path(paths["jsonl"]).read_bytes()
    embedder.chunks_metadata[3]["odd"] = float("nan")
    with pytest.raises(ValueError, match="Out of range float values"):
        embedder.export_for_local_qdrant()
    assert Path(paths["jsonl"]).read_bytes() == before
    assert not [path for path in Path.cwd().iterdir() if path.name.endswith(".part")]
    del embedder.chunks_metadata[3]["odd"]

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreFullError, match=r"cannot write .*_embeddings.npy: No space left .*; make room"):
        embedder.export_for_local_qdrant()
    (tmp_path / "file").write_text("in the way", "utf-8")
    embedder.export_config.working_dir = str(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot make .*: File exists; name another working_dir"):
        embedder.export_for_local_qdrant()


def test_off_kaggle_the_current_folder_is_used_and_said_once(
    chunks: str, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = embedded(chunks)
    for path in (*embedder.export_for_local_qdrant().values(), embedder.export_config.get_output_path("_x")):
        assert Path(path).parent == Path.cwd()
    said = f"there is no /kaggle/working here; {Path.cwd()} is used in its place"
    assert caplog.text.count(said) == 1 and not embedder.is_kaggle


@pytest.fixture
def hybrid(chunks: str) -> Mapping[str, str]:
    """Files of two dense and two sparse vectors a point."""
    embedder = embedded(chunks, companion_dense_models=["bge-m3"], enable_sparse=True, gpu_config=ON_CPU)
    return embedder.export_for_local_qdrant()


def test_the_jsonl_loads_with_plain_client_code_and_a_hybrid_query_answers(hybrid: Mapping[str, str]) -> None:
    """Nothing of vecloom between the file and the answer, but the query's vectors."""
    from qdrant_client import QdrantClient, models

    encoded = TextEncoder(["qdrant-minilm-onnx", "qdrant-bm25"]).queries(["open a TCP connection"])
    dense = np.asarray(encoded["qdrant-minilm"])[0].tolist()
    indices, values = encoded["bm25"].row(0)  # type: ignore[union-attr]
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs_v5_multi",
        vectors_config={
            "qdrant-minilm": models.VectorParams(size=384, distance=models.Distance.COSINE),
            "bge-m3": models.VectorParams(size=WIDTH, distance=models.Distance.COSINE),
        },
        sparse_vectors_config={
            name: models.SparseVectorParams(modifier=models.Modifier.IDF)
            for name in ("bm25", "minilm-attention")
        },
    )
    with Path(hybrid["jsonl"]).open(encoding="utf-8") as lines:
        client.upsert("docs_v5_multi", [models.PointStruct(**json.loads(line)) for line in lines])
    sparse = models.SparseVector(indices=indices.tolist(), values=values.tolist())
    found = client.query_points(
        "docs_v5_multi",
        prefetch=[
            models.Prefetch(query=dense, using="qdrant-minilm", limit=4),
            models.Prefetch(query=sparse, using="bm25", limit=4),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=2,
    ).points
    assert found[0].payload is not None and found[0].payload["text"] == TEXTS[3]
    assert client.count("docs_v5_multi").count == 4


@pytest.mark.parametrize("form", ["named", "unnamed"])
def test_the_upload_script_runs_twice_and_changes_nothing(
    form: str, chunks: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    from qdrant_client import QdrantClient, models

    named = form == "named"
    paths = request.getfixturevalue("hybrid") if named else embedded(chunks).export_for_local_qdrant()
    script = runpy.run_path(paths["upload_script"], run_name="script")
    client = QdrantClient(":memory:")
    assert [script["upload"](client) for _ in range(2)] == [4, 4]
    name = "given_v4_qdrant_minilm_onnx"
    assert [one.name for one in client.get_collections().collections] == [name]
    assert client.count(name).count == 4
    info = client.get_collection(name).config.params
    if named:
        assert isinstance(info.vectors, dict) and info.sparse_vectors is not None
        assert {key: one.size for key, one in info.vectors.items()} == {"qdrant-minilm": 384, "bge-m3": WIDTH}
        assert {one.modifier for one in info.sparse_vectors.values()} == {models.Modifier.IDF}
    else:
        assert isinstance(info.vectors, models.VectorParams) and info.vectors.size == 384
    stored = {str(one.id): one.payload for one in client.scroll(name, limit=9)[0]}
    assert stored == {line["id"]: line["payload"] for line in lines_of(paths["jsonl"])}
    assert script["upload"](client, "another", Path(paths["jsonl"])) == 4


def test_the_upload_script_needs_no_vecloom_and_holds_no_key(
    hybrid: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(hybrid["upload_script"]).read_text("utf-8")
    assert "vecloom" not in text and "'collection': 'given_v4_qdrant_minilm_onnx'" in text
    environ = {"PATH": "", "QDRANT_URL": "http://qdrant.invalid:6333", "QDRANT_API_KEY": "secret-key"}
    done = subprocess.run(
        [sys.executable, "-I", hybrid["upload_script"]],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "the key would go to http://qdrant.invalid:6333 in the clear; use https\n"
    script = runpy.run_path(hybrid["upload_script"])
    assert [script["is_local"](host) for host in ("localhost", "127.0.0.1", "::1", "10.0.0.1", "a.b")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_reranker_orders_what_was_found(chunks: str) -> None:
    from vecloom.standalone import Reranker

    embedder = embedded(chunks, reranking_config=RerankingConfig(enable_reranking=True))
    found = embedder.search_with_reranking("open the connection", top_k=3)
    assert [*found[0]] == ["rank", "score", "embedding_similarity", "text", "metadata", "chunk_id"]
    scores = Reranker("ms-marco-v2").scores("open the connection", embedder.chunk_texts).values
    expected = np.argsort(-scores, kind="stable")[:3].tolist()
    assert [hit["chunk_id"] for hit in found] == expected
    assert [hit["score"] for hit in found] == pytest.approx(scores[expected].tolist(), abs=1e-5)
    plain = embedded(chunks).search_with_reranking("open the connection", top_k=4)
    similar = {hit["chunk_id"]: hit["score"] for hit in plain}
    assert all(hit["embedding_similarity"] == pytest.approx(similar[hit["chunk_id"]]) for hit in found)
    near = [hit["chunk_id"] for hit in plain[:2]]
    few = embedder.search_with_reranking("open the connection", top_k=2, initial_candidates=2)
    assert sorted(hit["chunk_id"] for hit in few) == sorted(near), "only the nearest are read again"


def test_an_ensemble_is_one_vector_and_finds(chunks: str) -> None:
    models = ["bge-m3", "nomic-coderank"]
    config = EnsembleConfig(ensemble_models=models, model_weights={"bge-m3": 3, "nomic-coderank": 1})
    embedder = embedded(
        chunks, model_name="nomic-coderank", enable_ensemble=True, ensemble_config=config, gpu_config=ON_CPU
    )
    assert [*embedder.embeddings_by_model] == models
    expected = sum(
        weight * embedder.embeddings_by_model[key] for key, weight in zip(models, (3, 1), strict=True)
    )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert embedder.embeddings is not None
    np.testing.assert_allclose(embedder.embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(
        embedder.generate_ensemble_embeddings(embedder.chunk_texts), embedder.embeddings, atol=1e-5
    )
    point, *_ = lines_of(embedder.export_for_local_qdrant()["jsonl"])
    assert point["vector"] == embedder.embeddings[0].tolist()
    assert point["payload"]["model_info"]["name"] == "ensemble"
    assert len(embedder.search_with_reranking("retry", top_k=9)) == 4
    with pytest.raises(UsageError, match="the query is empty"):
        embedder.search_with_reranking(" ")


def test_an_ensemble_beside_companions_has_a_name(chunks: str) -> None:
    config = EnsembleConfig(ensemble_models=["bge-m3", "qdrant-minilm-onnx"], aggregation_method="concat")
    embedder = embedded(
        chunks,
        model_name="bge-m3",
        enable_ensemble=True,
        ensemble_config=config,
        companion_dense_models=["nomic-coderank", "bge-m3"],
        gpu_config=ON_CPU,
    )
    point, *_ = lines_of(embedder.export_for_local_qdrant()["jsonl"])
    assert {name: len(vector) for name, vector in point["vector"].items()} == {
        "ensemble": WIDTH + 384,
        "nomic-coderank": WIDTH,
    }
    assert embedder.chunks_metadata[0]["embedding_dimension"] == WIDTH + 384


def test_what_comes_too_early_is_said(chunks: str) -> None:
    embedder = UltimateKaggleEmbedderV4("qdrant-minilm-onnx")
    with pytest.raises(UsageError, match="no chunks are loaded; call load_chunks_from_processing first"):
        embedder.generate_embeddings_kaggle_optimized()
    for call in (embedder.export_for_local_qdrant, lambda: embedder.search_with_reranking("retry")):
        with pytest.raises(UsageError, match="there are no embeddings; call generate_embeddings"):
            call()


def test_what_is_cut_is_told(chunks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "long.json").write_text(json.dumps(["open the connection " * 400]), "utf-8")
    embedder = embedded(str(tmp_path / "long.json"))
    cut = embedder.processing_stats["truncated"]
    assert cut["qdrant-minilm"]["texts"] == 1 and cut["qdrant-minilm"]["tokens"] > 600
    assert "qdrant-minilm: 1 texts are longer than it takes" in caplog.text


def test_main_loads_encodes_and_exports(
    chunks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    main(["--chunks", chunks, "--model", "qdrant-minilm-onnx", "--sparse", "--out", str(out)])
    assert len(lines_of(out / f"{PREFIX}_qdrant.jsonl")) == 4
    assert "4 of 4 texts" in caplog.text
    with pytest.raises(UsageError, match="there is no folder of chunks at nowhere"):
        main(["--chunks", "nowhere", "--model", "qdrant-minilm-onnx"])
    command = [sys.executable, "-m", "processor.kaggle_ultimate_embedder_v4", "--model", "gpt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("no model is called 'gpt'; there are jina-code")
