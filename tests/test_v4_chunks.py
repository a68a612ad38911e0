"""V4's input: every layout and form of chunk files, what is left out, what is added to metadata."""

from __future__ import annotations

import json
import math
from hashlib import md5, sha1
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4_chunks import CODE, TEXTS, chunk, make_chunked, write_chunks
from vecloom.cli import run
from vecloom.compat.settings import AdvancedPreprocessingConfig, AdvancedTextCache
from vecloom.compat.texts import own_sparse_vector, preprocessed
from vecloom.compat.v4 import UltimateKaggleEmbedderV4


@pytest.fixture
def embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UltimateKaggleEmbedderV4:
    """One that nothing is encoded with, in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return UltimateKaggleEmbedderV4("qdrant-minilm-onnx")


def test_a_folder_below_is_a_collection_and_chunked_holds_some(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    expected = {"Docling": 2, "my docs": 2}
    for folder in (tmp_path / "given", tmp_path / "other" / "Chunked", tmp_path / "third" / "chunked"):
        make_chunked(folder)
        for place in {folder, folder.parent} - {tmp_path}:
            loaded = embedder.load_chunks_from_processing(str(place))
            assert loaded["chunks_by_collection"] == expected
            assert loaded["collections_loaded"] == 2
    assert embedder.raw_chunk_texts == list(TEXTS), "a second load takes the place of the first"
    assert [one["collection_priority"] for one in embedder.chunks_metadata] == [0.8, 0.8, 0.5, 0.5]


def test_files_directly_in_the_folder_are_a_collection_of_its_name(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    folder = tmp_path / "fast_docs"
    write_chunks(folder, "b_chunks.json", [chunk("two")])
    write_chunks(folder, "a.json", [chunk("one")])
    write_chunks(folder, "run_processing_summary.json", [{"files": 3}])
    write_chunks(folder / "deeper", "c_chunks.json", [chunk("three")])
    loaded = embedder.load_chunks_from_processing(str(folder))
    assert loaded["chunks_by_collection"] == {"fast_docs": 2, "deeper": 1} and not loaded["loading_errors"]
    assert embedder.raw_chunk_texts == ["one", "two", "three"]
    assert embedder.chunks_metadata[0]["collection_priority"] == 0.7
    assert embedder.get_target_collection_name() == "fast_docs_v4_qdrant_minilm_onnx"


def test_folders_of_one_name_are_one_collection(embedder: UltimateKaggleEmbedderV4, tmp_path: Path) -> None:
    write_chunks(tmp_path / "given" / "Chunked" / "docs", "a_chunks.json", [chunk("one")])
    write_chunks(tmp_path / "given" / "docs", "b_chunks.json", [chunk("two", chunk_hash=None)])
    loaded = embedder.load_chunks_from_processing(tmp_path / "given")
    assert loaded["chunks_by_collection"] == {"docs": 2} and embedder.raw_chunk_texts == ["one", "two"]
    assert all(len(metadata["chunk_hash"]) == 16 for metadata in embedder.chunks_metadata)


def test_all_is_one_collection_where_that_is_asked(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    folder = str(make_chunked(tmp_path / "given"))
    single = embedder.load_chunks_from_processing(folder, single_collection_mode=True)
    assert single["chunks_by_collection"] == {"given": 4}
    named = embedder.load_chunks_from_processing(folder, collection_name="All of it")
    assert named["chunks_by_collection"] == {"All of it": 4}
    assert embedder.chunks_metadata[0]["qdrant_collection"] == "all_of_it_v4_qdrant_minilm_onnx"
    assert embedder.get_target_collection_name() == "all_of_it_v4_qdrant_minilm_onnx"


def test_files_beside_those_named_as_chunks_are_told(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    write_chunks(tmp_path / "given" / "docs", "a_chunks.json", [chunk("one")])
    other = write_chunks(tmp_path / "given" / "docs" / "x", "settings.json", [])
    write_chunks(tmp_path / "given" / "more", "plain.json", [chunk("two")])
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "given"))
    assert loaded["chunks_by_collection"] == {"docs": 1, "more": 1}
    assert loaded["ignored_files"] == [str(other)]


def test_the_default_folder_is_looked_for_below_the_current_one(
    embedder: UltimateKaggleEmbedderV4,
) -> None:
    assert embedder.load_chunks_from_processing() == {
        "error": "there is no folder of chunks at /kaggle/working/rad_clean/Chunked"
    }
    make_chunked(Path("Chunked"))
    assert embedder.load_chunks_from_processing()["total_chunks_loaded"] == 4
    write_chunks(Path("rad_clean") / "Chunked" / "docs", "a_chunks.json", [chunk("one")])
    assert embedder.load_chunks_from_processing()["total_chunks_loaded"] == 1
    assert "error" in embedder.load_chunks_from_processing("elsewhere")


@pytest.mark.parametrize(
    "said",
    [
        [chunk("one"), chunk("two")],
        {"chunks": [chunk("one"), chunk("two")]},
        {"data": [chunk("one"), chunk("two")], "metadata": {}},
        {"records": ["one", "two"]},
        {"items": [{"text": "one"}, {"text": "two", "source_file": "b.md"}]},
        ["one", "two"],
    ],
)
def test_every_form_of_a_file(said: Any, embedder: UltimateKaggleEmbedderV4, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(said), "utf-8")
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "a.json"))
    assert (loaded["total_chunks_loaded"], loaded["loading_errors"]) == (2, [])
    assert embedder.raw_chunk_texts == ["one", "two"]


def test_a_bare_object_and_json_lines(embedder: UltimateKaggleEmbedderV4, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(chunk("only", title="T")), "utf-8-sig")
    assert embedder.load_chunks_from_processing(str(tmp_path / "one.json"))["total_chunks_loaded"] == 1
    assert embedder.chunks_metadata[0]["title"] == "T"
    lines = [json.dumps({"text": "one\u2028two"}, ensure_ascii=False), "", "{broken", '"three"']
    (tmp_path / "lines.jsonl").write_text("\n".join(lines), "utf-8")
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "lines.jsonl"))
    assert embedder.raw_chunk_texts == ["one\u2028two", "three"]
    (problem,) = loaded["loading_errors"]
    assert problem.startswith(f"{tmp_path / 'lines.jsonl'}, line 3 is no JSON: ")


def test_the_chunks_of_vecloom_are_read(
    embedder: UltimateKaggleEmbedderV4,
    tmp_path: Path,
    tiny_environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "loom.py").write_text(f"class Loom:\n    def weave(self):\n        return 1\n\n\n{CODE}", "utf-8")
    (tree / "guide.md").write_text("# Guide\n\n## Retries\n\nRetry twice.\n", "utf-8")
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    assert run(["chunk", str(tree), "--chunk-tokens", "32", "--out", str(tmp_path / "out.jsonl")]) == 0
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "out.jsonl"))
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert loaded["total_chunks_loaded"] == len(records) > 2
    for record, metadata, text in zip(
        records, embedder.chunks_metadata, embedder.raw_chunk_texts, strict=True
    ):
        assert text == record["text"]
        assert metadata["source_path"] == record["path"]
        assert metadata["hierarchy_path"] == record["breadcrumb"]
        assert (metadata["start_line"], metadata["language"]) == (record["start_line"], record["language"])
        assert (metadata["content_type"], metadata["modal_hint"]) == (
            record["kind"],
            "code" if record["kind"] == "code" else "prose",
        )


def test_only_empty_texts_and_counts_of_nothing_are_left_out_and_listed(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    said = [
        {"text": " \n", "metadata": {"token_count": 9}},
        {"text": "none", "metadata": {"token_count": 0}},
        {"text": "less", "metadata": {"token_count": -3}},
        {"text": "short", "metadata": {"token_count": 1}},
        {"text": "a missing count is computed", "metadata": {}},
        {"text": "null is missing too", "metadata": {"token_count": None}},
        {"text": "{}", "metadata": {"token_count": "many"}},
        {"metadata": {}},
        17,
    ]
    file = write_chunks(tmp_path, "a.json", said)
    loaded = embedder.load_chunks_from_processing(str(file))
    assert loaded["skipped_chunks"] == [
        {"file": str(file), "index": 0, "reason": "empty text"},
        {"file": str(file), "index": 1, "reason": "token_count is 0"},
        {"file": str(file), "index": 2, "reason": "token_count is -3"},
    ]
    assert loaded["loading_errors"] == [f"{file}: record {number} has no text" for number in (7, 8)]
    assert [one["token_count"] for one in embedder.chunks_metadata] == [1, 5, 4, 1]
    assert [one["global_chunk_id"] for one in embedder.chunks_metadata] == [0, 1, 2, 3]


def test_files_that_cannot_be_read_are_told_and_the_others_are_loaded(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    write_chunks(folder, "good.json", [chunk("one")])
    (folder / "cut.json").write_text('[{"text": "o', "utf-8")
    (folder / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    (folder / "deep.json").write_text("[" * 100_000, "utf-8")
    loaded = embedder.load_chunks_from_processing(str(folder))
    assert loaded["total_chunks_loaded"] == 1
    cut, deep, latin = loaded["loading_errors"]
    assert cut.startswith(f"{folder / 'cut.json'} is no JSON") and "deep.json is no JSON" in deep
    assert latin.startswith(f"{folder / 'latin.json'} cannot be read")


def test_an_earlier_export_is_not_taken_for_chunks(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    write_chunks(folder, "a.json", [chunk("one")])
    old = write_chunks(folder, "ultimate_embeddings_v4_texts.json", ["an old text"])
    loaded = embedder.load_chunks_from_processing(str(folder))
    assert embedder.raw_chunk_texts == ["one"] and loaded["ignored_files"] == [str(old)]


def test_what_is_read_of_metadata_and_what_is_added(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    said = chunk(
        "Retries  \r\n\r\n \r\n\r\n\r\nare configured here",
        token_count=250,
        source_file="C:\\Docs\\Guide.MD",
        section_path=["Guide", "Retries"],
        collection_hints=["docs", "guide"],
        content_flags={"has_table": True, "has_list": True},
        search_keywords=["retry"],
        embedding_dimension=3,
        chunk_index=7,
    )
    write_chunks(tmp_path / "Qdrant-Ecosystem", "a_chunks.json", [said])
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "Qdrant-Ecosystem"))
    assert loaded["modal_hint_counts"] == {"table": 1} and loaded["memory_usage_mb"] > 0
    (found,) = embedder.chunks_metadata
    timestamp = found.pop("kaggle_processing_timestamp")
    digest = found.pop("content_digest")
    text, raw = "Retries\n\n\nare configured here", said["text"]
    assert embedder.chunk_texts == [text] and len(digest) == 64 and "T" in timestamp
    assert found == {
        **said["metadata"],
        "chunk_hash": sha1(raw.encode()).hexdigest()[:16],
        "content_type": "hierarchical_section",
        "document_id": md5(b"c:/docs/guide.md").hexdigest()[:12],
        "document_name": "Guide",
        "source_file": "C:\\Docs\\Guide.MD",
        "source_path": "C:/Docs/Guide.MD",
        "source_filename": "Guide.MD",
        "global_chunk_id": 0,
        "collection_priority": 1.0,
        "quality_score": 0.25,
        "text_preprocessing_applied": True,
        "original_length": len(raw),
        "processed_length": len(text),
        "full_text_length": len(raw),
        "model_target": "qdrant-minilm-onnx",
        "embedding_dimension": 384,
        "qdrant_collection": "qdrant_ecosystem_v4_qdrant_minilm_onnx",
        "collection_alias": "qdrant_ecosystem",
        "qdrant_collection_hint": "docs",
        "hierarchy_path": "Guide > Retries",
        "payload_version": "1.2",
        "modal_hint": "table",
        "embedding_modal_hint": "table",
        "chunk_file_name": "a_chunks.json",
    }


def test_without_sparse_models_a_chunks_own_features_are_its_sparse_vector(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    features = {
        "term_weights": [
            {"term": "retry", "weight": 3.0, "tf": 3},
            {"term": "loom", "weight": 4.0, "tf": 1},
            {"term": "nothing", "weight": 0.0},
            {"weight": 1.0},
            "odd",
        ],
        "unique_terms": 2,
        "total_terms": 4,
        "weighting": "tf",
    }
    write_chunks(tmp_path, "a.json", [chunk("one", sparse_features=features), chunk("two")])
    loaded = embedder.load_chunks_from_processing(str(tmp_path / "a.json"))
    assert loaded["sparse_vectors_generated"] == 1
    first, second = embedder.sparse_vectors
    assert second is None and first is not None
    ids = {term: int(sha1(term.encode()).hexdigest()[:8], 16) for term in ("retry", "loom")}
    order = sorted(ids, key=lambda term: ids[term])
    assert first["indices"] == [ids[term] for term in order] and first["tokens"] == order
    assert first["values"] == [pytest.approx({"retry": 0.6, "loom": 0.8}[term]) for term in order]
    assert first["stats"] == {"weight_norm": 5.0, "unique_terms": 2, "total_terms": 4, "weighting": "tf"}
    metadata = embedder.chunks_metadata[0]
    assert metadata["sparse_vector"] == {"indices": first["indices"], "values": first["values"]}
    assert (metadata["sparse_vector_tokens"], metadata["sparse_vector_weight_norm"]) == (order, 5.0)
    assert metadata["search_keywords"] == ["retry", "loom"]
    embedder.generate_embeddings_kaggle_optimized()
    paths = embedder.export_for_local_qdrant()
    lines = [json.loads(line) for line in Path(paths["sparse_jsonl"]).read_text("utf-8").splitlines()]
    assert [*lines[0]] == ["id", "sparse_vector", "tokens", "stats"]
    assert lines[0]["sparse_vector"] == metadata["sparse_vector"]
    assert (lines[1]["sparse_vector"], lines[1]["tokens"]) == ({"indices": [], "values": []}, [])
    points = [json.loads(line) for line in Path(paths["jsonl"]).read_text("utf-8").splitlines()]
    assert points[0]["payload"]["sparse_vector"] == metadata["sparse_vector"]
    assert isinstance(points[0]["vector"], list), "one model without sparse models: V4's form"


def test_features_without_weights_give_no_vector() -> None:
    for features in (None, {}, {"term_weights": None}, {"term_weights": [{"term": "a", "weight": -1}]}, "x"):
        assert own_sparse_vector({"sparse_features": features}) is None


def test_half_a_surrogate_pair_and_nan_get_through(
    embedder: UltimateKaggleEmbedderV4, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a \\ud800 b", "metadata": {"score": NaN}}]', "utf-8")
    embedder.load_chunks_from_processing(str(tmp_path / "a.json"))
    embedder.generate_embeddings_kaggle_optimized()
    path = embedder.export_for_local_qdrant()["jsonl"]
    payload = json.loads(Path(path).read_text("utf-8"))["payload"]
    assert (payload["text"], payload["score"]) == ("a ? b", None)


@given(st.text(st.sampled_from(" \t\r\nab{}:"), max_size=60))
def test_lines_and_indentation_stay(text: str) -> None:
    found = preprocessed(text, AdvancedPreprocessingConfig())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [line for line in found.split("\n") if line] == [line.rstrip() for line in lines if line.strip()]
    assert "\n" * 4 not in found and not found.startswith("\n") and not found.endswith("\n\n")
    assert preprocessed(found, AdvancedPreprocessingConfig()) == found
    off = AdvancedPreprocessingConfig(normalize_whitespace=False, remove_excessive_newlines=False)
    assert preprocessed(text, off) == text


def test_well_formed_code_stays_as_it_is() -> None:
    code = Path(__file__).read_text("utf-8")
    assert preprocessed(code, AdvancedPreprocessingConfig()) == code
    assert preprocessed("\n\n" + code + "\n \t\n", AdvancedPreprocessingConfig()) == code


def test_the_cache_remembers_so_many_texts_and_counts() -> None:
    cache = AdvancedTextCache(max_size=2)
    asked: list[str] = []

    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    found = [cache.get_processed_text(text, upper) for text in ("a", "b", "a", "c", "a", "c")]
    assert found == ["A", "B", "A", "C", "A", "C"]
    assert asked == ["a", "b", "c", "a"], "the first one in is the first one out"
    stats = cache.get_stats()
    assert (stats["cache_size"], stats["hit_count"], stats["miss_count"]) == (2, 2, 4)
    assert math.isclose(stats["hit_rate"], 1 / 3) and stats["memory_mb"] == pytest.approx(2e-6)
    assert AdvancedTextCache(0).get_processed_text("a", upper) == "A"


def test_the_embedder_uses_its_cache(embedder: UltimateKaggleEmbedderV4) -> None:
    assert [embedder.preprocess_text_advanced("a \n") for _ in range(2)] == ["a\n", "a\n"]
    assert embedder.text_cache.get_stats()["hit_count"] == 1
    embedder.preprocessing_config.enable_text_caching = False
    assert embedder.preprocess_text_advanced("a \n") == "a\n"
    assert embedder.text_cache.get_stats()["hit_count"] == 1
