"""Encoders against FastEmbed and sentence-transformers: speed, equality, and the machine's own limit.

    python -m bench.encoders [--texts N] [--rounds N] [--size BYTES]

All run the same weights over the same texts, cut at the same length, in one process. A round takes a block of
texts and gives it to every engine, in an order that changes from round to round; ratios are of the times of
one round, and the median of the rounds is told with the smallest and the largest. On one core the time is
CPU time of the process, which a busy machine spoils less; on all cores it is the clock's.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bench import FOLDER
from bench.peers.models import (
    FASTEMBED_BM25,
    FASTEMBED_BM42,
    FASTEMBED_DENSE,
    LIMIT,
    TRANSFORMER,
    make_models,
)
from bench.report import Table
from bench.tree import make_tree
from vecloom.encoders.backends import ANYHOW, How, runs_of
from vecloom.encoders.bert import BertEncoder
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.load import passes_of
from vecloom.engine import Engine
from vecloom.registry import Registry
from vecloom.types import SparseRows

#: FastEmbed's default. A smaller one would pad less, and its users do not know to set it.
BATCH = 256

#: Characters of the second corpus's pieces: some 150 tokens.
WIDTH = 500

#: BM25 is a thousand times faster, so it is given as many more texts.
BM25_TEXTS = 2000

Run: TypeAlias = Callable[[Sequence[str]], object]
Times: TypeAlias = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The tables of `run`, and the figures behind them."""

    tables: Mapping[str, Table]
    times: Mapping[str, Times]


def run(
    minilm_folder: Path,
    corpora: Mapping[str, Sequence[str]],
    rounds: int = 3,
    block: int = 256,
    cores: Sequence[int] = (1, 2),
) -> Measured:
    """Measure over each corpus (title -> texts), ``block`` texts a round, on so many cores each.

    Equality and BM25's speed are told of the first corpus.
    """
    make_models()
    first = next(iter(corpora.values()))
    tables = {"equality": parity(minilm_folder, first)}
    measured: dict[str, Times] = {}
    floor = matrix_flops()
    for title, texts in corpora.items():
        mean = _lengths(minilm_folder, texts).mean()
        for threads in cores:
            os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
            clock = time.perf_counter if threads > 1 else time.process_time
            blocks = _blocks(texts, rounds, block)
            times = _interleaved(_engines(minilm_folder, threads), blocks, clock)
            floor = max(floor, matrix_flops())  # a busy machine hides its limit now and then
            shares = [_flops(minilm_folder, part) / floor / threads for part in blocks]
            name = f"{title} (mean {mean:.0f} tokens), {'one core' if threads == 1 else f'{threads} cores'}"
            tables[name] = _speed_table(times, block, shares, threads, floor)
            measured[name] = times
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    times = _interleaved(_bm25_engines(), _blocks(first, rounds, BM25_TEXTS), time.process_time)
    tables["BM25, one core"], measured["BM25"] = _bm25_table(times, min(BM25_TEXTS, len(first))), times
    return Measured(tables, measured)


def parity(minilm_folder: Path, texts: Sequence[str], dense_texts: int = 128) -> Table:
    """How far our vectors are from FastEmbed's."""
    from fastembed import SparseTextEmbedding, TextEmbedding

    engine = _engine(minilm_folder, ["minilm", "bm42"], 2)
    some = [*texts[:dense_texts], "", "a", "word " * 600, "İstanbul ΑΣ'Α ß 日本語"]
    vectors, stats = engine.encode_documents(some)
    dense = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(FASTEMBED_DENSE))
    theirs = np.array(list(dense.embed(some, batch_size=32)), dtype=np.float64)
    mine = np.asarray(vectors["qdrant-minilm"], dtype=np.float64)
    cosine = (theirs * mine).sum(axis=1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(mine, axis=1)
    bm42 = SparseTextEmbedding(_BM42, specific_model_path=str(FASTEMBED_BM42))
    other, apart = _differences(vectors["minilm-attention"], list(bm42.embed(some, batch_size=16)))
    words = [*texts, *odd_texts(10_000)]
    bm25 = SparseTextEmbedding("Qdrant/bm25", specific_model_path=str(FASTEMBED_BM25))
    ours = _engine(minilm_folder, ["bm25"], 1).encode_documents(words)[0]["bm25"]
    others, aparts = _differences(ours, list(bm25.embed(words)))
    rows = [
        ("dense", f"{len(some):,}", f"smallest cosine {cosine.min():.9f}"),
        ("BM42", f"{len(some):,}", f"{other} rows of other indices, values within {apart:.1e}"),
        ("BM25", f"{len(words):,}", f"{others} rows of other indices, values as float32 within {aparts:.1e}"),
        (
            "padding",
            f"{stats.texts:,}",
            f"{stats.padded / stats.tokens:.4f} tokens through the model a real one",
        ),
        *_beside_our_own(minilm_folder, texts[:1000]),
    ]
    return Table(("vectors", "texts", "against FastEmbed"), rows)


def _beside_our_own(folder: Path, texts: Sequence[str]) -> list[tuple[str, str, str]]:
    """The other backends against our own graph in fp32."""
    rows = []
    exact = np.asarray(_engine(folder, ["minilm"], 2).encode_documents(texts)[0]["qdrant-minilm"])
    asked = exact[::10]
    best = np.argsort(-(asked @ exact.T), axis=1)[:, :10]
    for title, name, how in (
        ("PyTorch fp32", "all-miniLM-l6", How(precision="fp32", device="cpu")),
        ("PyTorch bf16", "all-miniLM-l6", How(precision="bf16", device="cpu")),
        ("OpenVINO fp32", "minilm", How(backend="openvino")),
        ("OpenVINO bf16", "minilm", How(backend="openvino", precision="bf16")),
    ):
        (found,) = _engine(folder, [name], 2, how).encode_documents(texts)[0].values()
        vectors = np.asarray(found)
        cosine = (vectors * exact).sum(axis=1) / np.linalg.norm(vectors, axis=1)
        others = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
        same = [len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), others.tolist(), strict=True)]
        said = f"smallest cosine {cosine.min():.7f} to our graph's, top-10 overlap {np.mean(same):.3f}"
        rows.append((title, f"{len(texts):,}", said))
    return rows


def odd_texts(count: int) -> list[str]:
    """Random Unicode between words, words of colliding ids among them."""
    import mmh3

    draw = random.Random(0)
    words, seen = ["the", "opening", "_", "İ", "ΑΣ'", "don't", "a" * 41, "snake_case"], dict[int, str]()
    for number in range(200_000):
        word = f"w{number}"
        other = seen.setdefault(abs(mmh3.hash(word)), word)
        words += [] if other == word else [other, word]
    odd = [[chr(draw.randrange(0x110000)) for _ in range(draw.randrange(12))] for _ in range(count)]
    mixed = [[*letters, *draw.choices(words, k=draw.randrange(20))] for letters in odd]
    return [draw.choice((" ", ".", "", "\n")).join(draw.sample(parts, len(parts))) for parts in mixed]


def matrix_flops() -> float:
    """Floating point operations a second of one core in products of MiniLM's shapes: the best of many."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    best = 0.0
    for inner, outer in ((384, 1536), (1536, 384)):
        weight = numpy_helper.from_array(
            np.random.default_rng(0).normal(size=(inner, outer)).astype("f4"), "w"
        )
        shapes = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y")]
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        graph = helper.make_graph([node], "product", shapes[:1], shapes[1:], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        rows = np.ones((512, inner), dtype=np.float32)
        for _ in range(60):
            started = time.perf_counter()
            session.run(None, {"x": rows})
            best = max(best, 2 * 512 * inner * outer / (time.perf_counter() - started))
    return best


_DENSE = "vecloom dense"
_BOTH = "vecloom dense + BM42"
_ALL = "vecloom dense + BM42 + BM25"
_FE_DENSE = "FastEmbed dense"
_FE_BM42 = "FastEmbed BM42"
_FE_BM25 = "FastEmbed BM25"
_FE_ALL = "FastEmbed dense, BM42 and BM25"
_OV_DENSE, _OV_BF16 = "vecloom dense, OpenVINO fp32", "vecloom dense, OpenVINO bf16"
_OV_ALL = "vecloom dense + BM42 + BM25, OpenVINO bf16"
_TORCH, _TORCH_BF16 = "vecloom dense, PyTorch fp32", "vecloom dense, PyTorch bf16"
_ST = "sentence-transformers fp32"
_ST_BF16 = "sentence-transformers bf16"
_WARM, _COLD = "vecloom BM25, warm", "vecloom BM25, cold"
_BM42 = "Qdrant/bm42-all-minilm-l6-v2-attentions"


def _engine(folder: Path, names: Sequence[str], threads: int, how: How = ANYHOW) -> Engine:
    specs = [
        replace(spec, max_tokens=LIMIT) if spec.max_tokens else spec for spec in Registry().select(names)
    ]
    passes = passes_of(specs, runs_of(specs, how), lambda spec: folder, FOLDER / "cache", threads, "cpu")
    return Engine(one.load() for one in passes)


def _engines(folder: Path, threads: int) -> dict[str, Run]:
    """Every engine, warmed up."""
    import torch
    from fastembed import SparseTextEmbedding, TextEmbedding
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    dense = TextEmbedding(name, specific_model_path=str(FASTEMBED_DENSE), threads=threads)
    bm42 = SparseTextEmbedding(_BM42, specific_model_path=str(FASTEMBED_BM42), threads=threads)
    bm25 = SparseTextEmbedding("Qdrant/bm25", specific_model_path=str(FASTEMBED_BM25))
    fp32 = SentenceTransformer(str(TRANSFORMER), device="cpu")
    peer_bf16 = SentenceTransformer(str(TRANSFORMER), device="cpu", model_kwargs={"dtype": "bfloat16"})
    bf16 = How(precision="bf16", device="cpu")
    mine = {
        key: _engine(folder, names, threads, how)
        for key, names, how in (
            (_DENSE, ["minilm"], ANYHOW),
            (_BOTH, ["minilm", "bm42"], ANYHOW),
            (_ALL, ["minilm", "bm42", "bm25"], ANYHOW),
            (_OV_DENSE, ["minilm"], How(backend="openvino")),
            (_OV_BF16, ["minilm"], replace(bf16, backend="openvino")),
            (_OV_ALL, ["minilm", "bm42", "bm25"], replace(bf16, backend="openvino")),
            (_TORCH, ["all-miniLM-l6"], How(precision="fp32", device="cpu")),
            (_TORCH_BF16, ["all-miniLM-l6"], bf16),
        )
    }
    engines: dict[str, Run] = {
        _FE_DENSE: lambda texts: list(dense.embed(texts, batch_size=BATCH)),
        _FE_BM42: lambda texts: list(bm42.embed(texts, batch_size=BATCH)),
        _FE_BM25: lambda texts: list(bm25.embed(texts)),
        _ST: lambda texts: fp32.encode(list(texts), normalize_embeddings=True),
        _ST_BF16: lambda texts: peer_bf16.encode(list(texts), normalize_embeddings=True),
        **{key: engine.encode_documents for key, engine in mine.items()},
    }
    for encode in engines.values():
        encode(["warm up", "open the connection again"])
    return engines


def _bm25_engines() -> dict[str, Run]:
    from fastembed import SparseTextEmbedding

    peer = SparseTextEmbedding("Qdrant/bm25", specific_model_path=str(FASTEMBED_BM25))
    spec = Registry().find("bm25")
    warm = Bm25Encoder(spec)

    def encode_warm(texts: Sequence[str]) -> object:
        return warm.encode_documents(texts)

    def encode_cold(texts: Sequence[str]) -> object:
        return Bm25Encoder(spec).encode_documents(texts)

    return {_FE_BM25: lambda texts: list(peer.embed(texts)), _COLD: encode_cold, _WARM: encode_warm}


def _interleaved(
    engines: Mapping[str, Run], blocks: Sequence[Sequence[str]], clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of every engine for every block. A warm table has seen the block once before."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    draw = random.Random(0)
    for texts in blocks:
        for name in draw.sample(list(engines), len(engines)):
            if name == _WARM:
                engines[name](texts)
            gc.collect()
            started = clock()
            engines[name](texts)
            times[name].append(clock() - started)
    return times


def _blocks(texts: Sequence[str], rounds: int, block: int) -> list[list[str]]:
    """Blocks of texts drawn without regard to their order, the same each time."""
    draw = random.Random(1)
    return [draw.sample(list(texts), min(block, len(texts))) for _ in range(rounds)]


def _flops(folder: Path, texts: Sequence[str]) -> float:
    """Operations of MiniLM's linear layers and its attention, for the texts' tokens."""
    config = json.loads((folder / "config.json").read_bytes())
    hidden, inner, layers = (config[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    linear = 2 * layers * (4 * hidden * hidden + 2 * hidden * inner)
    tokens = _lengths(folder, texts)
    return float((tokens * (linear + 4 * layers * hidden * tokens)).sum())


def _lengths(folder: Path, texts: Sequence[str]) -> Any:
    from vecloom.encoders.tokens import shared_tokenizer

    return shared_tokenizer(folder / "tokenizer.json", LIMIT).rows(texts).lengths


def _speed_table(times: Times, block: int, shares: Sequence[float], threads: int, floor: float) -> Table:
    """``shares``: the seconds that each block would take at the speed of the matrix product."""
    three = [sum(parts) for parts in zip(*(times[n] for n in (_FE_DENSE, _FE_BM42, _FE_BM25)), strict=True)]
    rows = []
    for name, seconds in {**times, _FE_ALL: three}.items():
        base = three if name in (_ALL, _OV_ALL, _FE_ALL) else times[_FE_DENSE]
        whole = _spread([least / took for least, took in zip(shares, seconds, strict=True)], "{:.0%}")
        share = "" if name in (_FE_BM25, _FE_ALL, _ALL, _OV_ALL) else whole
        rate = f"{block / statistics.median(seconds):.1f}"
        ratio = _spread([b / s for b, s in zip(base, seconds, strict=True)], "{:.2f}")
        rows.append((name, rate, ratio, share))
    unit = "CPU-second" if threads == 1 else "second"
    notes = (
        f"{len(shares)} rounds of {block} texts; median (smallest to largest)",
        "x FastEmbed: to its dense model, and where BM42 and BM25 come along to its three models",
        f"FastEmbed's batch: {BATCH} texts (its default)",
        f"fp32 matrix product of one core, measured with onnxruntime: {floor / 1e9:.0f} GFLOP/s",
    )
    return Table(("engine", f"texts/{unit}", "x FastEmbed", "share of the matrix product"), rows, notes)


def _bm25_table(times: Times, block: int) -> Table:
    base = times[_FE_BM25]
    rows = [
        (
            name,
            f"{block / statistics.median(seconds):,.0f}",
            _spread([b / s for b, s in zip(base, seconds, strict=True)], "{:.2f}"),
        )
        for name, seconds in times.items()
    ]
    notes = (f"{len(base)} rounds of {block:,} texts; cold: an encoder that has seen no word yet",)
    return Table(("engine", "texts/CPU-second", "x FastEmbed"), rows, notes)


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(v) for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def _differences(ours: object, theirs: Sequence[Any]) -> tuple[int, float]:
    """Rows whose indices differ, and the largest difference of values, both as float32, in the others."""
    if not isinstance(ours, SparseRows):
        raise TypeError("no sparse rows")
    differing, largest = 0, 0.0
    for row, expected in enumerate(theirs):
        order = np.argsort(expected.indices)
        indices, values = ours.row(row)
        if not np.array_equal(indices, expected.indices[order]):
            differing += 1
        elif len(values):
            largest = max(largest, float(np.abs(expected.values[order].astype(np.float32) - values).max()))
    return differing, largest


def chunks_of(tree: Path, minilm_folder: Path) -> list[str]:
    """What an index of a tree would encode: its chunks of at most `LIMIT` tokens, with their headers."""
    from vecloom.chunking import Chunker
    from vecloom.encoders.counters import make_counter
    from vecloom.sources import File, Skip, decode, read, scan
    from vecloom.types import Document

    encoder = BertEncoder(Registry().select(["minilm"]), minilm_folder, FOLDER / "cache", 1)
    chunker = Chunker(make_counter([encoder.counting]), LIMIT)
    texts: list[str] = []
    for found in scan(tree):
        data = read(found) if isinstance(found, File) else found
        document = data if isinstance(data, Skip) or isinstance(found, Skip) else decode("tree", found, data)
        if isinstance(document, Document):
            texts += [chunk.encoded_text for chunk in chunker.chunk(document).chunks]
    return texts


def windows_of(tree: Path, characters: int) -> list[str]:
    """A tree's files cut to pieces of one width in characters: their lengths in tokens differ more."""
    files = [path.read_text("utf-8") for path in sorted(tree.rglob("*")) if path.is_file()]
    return [text[at : at + characters] for text in files for at in range(0, len(text), characters)]


def corpora_of(tree: Path, minilm_folder: Path) -> dict[str, list[str]]:
    """The texts that are measured, by a title: one tree, cut in two ways.

    Chunks are full, so that a batch of them in any order has little padding; pieces of one width have lengths
    as they come.
    """
    return {
        "vecloom's chunks with their headers": chunks_of(tree, minilm_folder),
        f"pieces of {WIDTH} characters": windows_of(tree, WIDTH),
    }


def main() -> None:
    """Measure over a tree made of this machine's packages, and print the tables."""
    parser = argparse.ArgumentParser(description="Encoders against FastEmbed and sentence-transformers.")
    parser.add_argument("--size", type=int, default=4_000_000, help="bytes of the tree that is cut to texts")
    parser.add_argument("--texts", type=int, default=256, help="texts a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    arguments = parser.parse_args()
    from vecloom.config import load_config
    from vecloom.weights import Weights

    config = load_config()
    folder = Weights(config).folder(config.registry().find("qdrant-minilm-onnx"))
    with tempfile.TemporaryDirectory() as place:
        corpora = corpora_of(make_tree(Path(place), arguments.size).folder, folder)
    measured = run(folder, corpora, arguments.rounds, arguments.texts, arguments.cores).tables
    for name, table in measured.items():
        print(f"\n{name}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
