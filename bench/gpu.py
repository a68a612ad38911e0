"""The large models' shapes on a device: tokens a second, share of its matrix product, memory, beside a peer.

    python -m bench.gpu [--device cuda:0] [--precision bf16] [--only KEY] [--tokens N] [--rounds N] [--tiny]

Weights are random and of full shape, which changes nothing about the time. The texts have a fixed mix of
lengths, like chunks of some 150 and some 500 tokens. vecloom and sentence-transformers' `encode`, at the
batch size that the row recommends, take turns; figures are medians of rounds.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bench import FOLDER
from bench.report import Table, machine, write_section
from bench.standins import make_coderank, make_m3, make_minilm, make_qwen
from vecloom.encoders.backends import best_precision
from vecloom.encoders.torch_pass import TorchEncoder
from vecloom.registry import ModelSpec, Registry

#: Mean lengths of the mixes, in tokens.
MIXES = (150, 500)

_VERSIONS = ("vecloom", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes, and how its stand-in is made.

    ``linear``: parameters of its linear layers, which every token meets once; ``width``, ``layers``: of its
    attention. ``peer``: the pooling in sentence-transformers' words. ``longest``: tokens of the longest text.
    """

    make: Callable[..., Path]
    config: Mapping[str, Any]
    layers: int
    width: int
    linear: int
    peer: str
    causal: bool = False
    longest: int = 1024
    letter: int = 2


def _bert_linear(hidden: int, inner: int, layers: int, gated: bool = False) -> int:
    return layers * (4 * hidden * hidden + (3 if gated else 2) * hidden * inner)


def _qwen(hidden: int, inner: int, layers: int, heads: int) -> Shape:
    size = hidden // heads
    linear = layers * (2 * hidden * hidden + 2 * hidden * 2 * size + 3 * hidden * inner)
    config = {
        "vocab_size": 151_936,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
    }
    return Shape(make_qwen, config, layers, hidden, linear, "lasttoken", causal=True)


SHAPES: Mapping[str, Shape] = {
    "jina-code-embeddings-1.5b": _qwen(1536, 8960, 28, 12),
    "jina-code-embeddings-0.5b": _qwen(896, 4864, 24, 14),
    "bge-m3": Shape(
        make_m3,
        {
            "vocab_size": 250_002,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "max_position_embeddings": 8194,
        },
        24,
        1024,
        _bert_linear(1024, 4096, 24),
        "cls",
    ),
    "nomic-coderank": Shape(
        make_coderank,
        {
            "vocab_size": 30_528,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 2048,
        },
        12,
        768,
        _bert_linear(768, 3072, 12, gated=True),
        "cls",
        letter=1,
    ),
    "all-miniLM-l6": Shape(
        make_minilm,
        {
            "vocab_size": 30_522,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "max_position_embeddings": 512,
        },
        6,
        384,
        _bert_linear(384, 1536, 6),
        "mean",
        longest=512,
        letter=1,
    ),
}

#: The peer as it comes, and where flash-attn is installed without padding.
PEER, PEER_UNPADDED = "sentence-transformers", "sentence-transformers, flash attention"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a model did on one mix: seconds of each round by engine, tokens, texts, operations, bytes.

    ``attention``: how vecloom's was computed.
    """

    key: str
    mix: int
    attention: str
    seconds: Mapping[str, Sequence[float]]
    tokens: int
    texts: int
    operations: float
    peak: Mapping[str, int]
    halvings: int


def operations(shape: Shape, lengths: Sequence[int]) -> float:
    """Floating point operations of the linear layers and the attention, for texts of these lengths."""
    attention = 2 if shape.causal else 4  # half of a causal model's scores are never needed
    return float(sum(2 * shape.linear * n + attention * shape.layers * shape.width * n * n for n in lengths))


def mixed_texts(mean: int, tokens: int, longest: int, letter: int) -> list[str]:
    """Texts of lengths like those of chunks, of so many tokens in all; a letter gives ``letter`` of them."""
    draw = random.Random(mean)
    texts, total = [], 0
    while total < tokens:
        length = max(8, min(longest - 8, round(draw.gammavariate(4.0, mean / 4.0))))
        texts.append(" ".join(draw.choice("abcdefghij") for _ in range(length // letter)))
        total += length
    return texts


def matrix_rate(device: str, precision: str, side: int = 8192) -> float:
    """Operations a second of the device's own matrix product: the best of some."""
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    side = side if device != "cpu" else 1024
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(12):
        started = _now(device)
        one @ other
        best = max(best, 2 * side**3 / (_now(device) - started))
    return best


def _now(device: str) -> float:
    """The clock, once the device has done what it was given."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(
    key: str, mean: int, device: str, precision: str, tokens: int, rounds: int, tiny: bool = False
) -> Rate:
    """One model over one mix, vecloom and sentence-transformers by turns."""
    shape, spec, folder = stand_in(key, tiny)
    longest = 120 if tiny else shape.longest
    texts = mixed_texts(min(mean, longest), tokens, longest, shape.letter)
    mine = TorchEncoder([spec], folder, device, precision, threads=_cores())
    engines: dict[str, Callable[[Sequence[str]], object]] = {
        "vecloom": mine.encode_documents,
        PEER: _peer(folder, shape, spec, device, precision, longest),
    }
    if device != "cpu" and precision != "fp32" and find_spec("flash_attn") is not None:
        engines[PEER_UNPADDED] = _peer(
            folder, shape, spec, device, precision, longest, attn_implementation="flash_attention_2"
        )
    lengths = mine._tokenized(texts, "document").lengths.tolist()
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    peak: dict[str, int] = {}
    for encode in engines.values():
        encode(texts[:8])
    for turn in range(rounds):
        for name in sorted(engines, reverse=bool(turn % 2)):
            gc.collect()
            _forget_peak(device)
            started = _now(device)
            engines[name](texts)
            seconds[name].append(_now(device) - started)
            peak[name] = max(peak.get(name, 0), _peak(device))
    done = operations(shape, lengths) if not tiny else float(sum(lengths))
    halvings = mine.model.budget.halvings
    attention = "flash, packed" if mine.model.varlen else "sdpa, packed"
    return Rate(key, mean, attention, seconds, sum(lengths), len(texts), done, peak, halvings)


def stand_in(key: str, tiny: bool) -> tuple[Shape, ModelSpec, Path]:
    """A model's shape, its row, and a folder with random weights of that shape (or of a tiny one)."""
    from bench.standins import WIDTH

    shape = SHAPES[key]
    folder = FOLDER / "gpu" / f"{key}{'-tiny' if tiny else ''}"
    if not (folder / "model.safetensors").exists():
        shape.make(folder, **({} if tiny else shape.config))
    longest = shape.longest
    spec = replace(Registry().find(key), recommended_tokens=longest, max_tokens=longest, files=())
    return shape, replace(spec, dim=WIDTH, matryoshka_dims=()) if tiny else spec, folder


def _peer(
    folder: Path, shape: Shape, spec: ModelSpec, device: str, precision: str, longest: int, **given: str
) -> Callable[[Sequence[str]], object]:
    """sentence-transformers' `encode`, with the row's prompt and batch size."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    module = Transformer(str(folder), max_seq_length=longest, model_kwargs={"dtype": dtype, **given})
    pool = Pooling(module.get_embedding_dimension(), pooling_mode=shape.peer)
    model = SentenceTransformer(modules=[module, pool, Normalize()], device=device)
    prompt = next(iter(spec.prompts.values()))["document"] if spec.prompts else None
    return lambda texts: model.encode(list(texts), prompt=prompt or None, batch_size=spec.recommended_batch)


def _forget_peak(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated(device))


def _cores() -> int:
    from vecloom.pipeline.setup import cores

    return cores()


def two_workers(
    key: str, device: str, precision: str, tokens: int, tiny: bool = False
) -> tuple[float, float]:
    """Two processes on one device, as a stand-in for two devices: seconds, and how far vectors are apart."""
    from contextlib import closing
    from functools import partial

    from vecloom.encoders.load import Pass
    from vecloom.engine import EncodingStage
    from vecloom.runners.pool import Pool

    shape, spec, folder = stand_in(key, tiny)
    texts = mixed_texts(100 if tiny else MIXES[0], tokens, 120 if tiny else 1024, shape.letter)
    one = Pass((spec,), folder, "torch", precision, (device, device), FOLDER, 1)  # type: ignore[arg-type]
    alone, _ = EncodingStage([one], device)((texts, one.names))
    windows = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    found: dict[object, Any] = {}
    with closing(Pool(partial(EncodingStage, [one]), one.devices, print)) as pool:
        waiting, started = list(enumerate(windows)), time.perf_counter()
        while len(found) < len(windows):
            while waiting and pool.free:
                number, window = waiting.pop(0)
                pool.submit(number, (window, one.names))
            name, (vectors, _) = pool.result()
            found[name] = vectors[spec.vector_name]
        seconds = time.perf_counter() - started
    together = np.concatenate([found[number] for number in range(len(windows))])
    return seconds, float(np.abs(together - np.asarray(alone[spec.vector_name])).max())


def table(rates: Sequence[Rate], limit: float) -> Table:
    """The figures: a model, a mix and an engine a row."""
    heads = (
        "model",
        "tokens a text",
        "engine",
        "tokens/s",
        "texts/s",
        "of the matrix product",
        "GB",
        "ratio",
    )
    rows = []
    for rate in rates:
        mine = rate.seconds["vecloom"]
        for engine, seconds in rate.seconds.items():
            middle = statistics.median(seconds)
            ratios = [other / own for own, other in zip(mine, seconds, strict=True)]
            rows.append(
                (
                    rate.key,
                    f"{rate.tokens / rate.texts:.0f}",
                    f"vecloom ({rate.attention})" if engine == "vecloom" else engine,
                    f"{rate.tokens / middle:,.0f}",
                    f"{rate.texts / middle:,.1f}",
                    f"{rate.operations / middle / limit:.0%}",
                    f"{rate.peak[engine] / 1e9:.1f}",
                    ""
                    if engine == "vecloom"
                    else f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})",
                )
            )
    halved = ", ".join(f"{rate.key} {rate.halvings}" for rate in rates if rate.halvings) or "none"
    notes = (
        f"the device's matrix product, measured: {limit / 1e12:.2f} TFLOP/s",
        f"vecloom's token budget was halved for want of memory: {halved}",
    )
    return Table(heads, rows, notes)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), help="(the device's best)")
    parser.add_argument("--only", action="append", choices=list(SHAPES), help="only this model; repeatable")
    parser.add_argument("--tokens", type=int, default=400_000, help="of a mix (400,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: to see that it runs")
    chosen = parser.parse_args()
    precision = chosen.precision or best_precision([chosen.device])
    limit = matrix_rate(chosen.device, precision)
    rates = []
    for key in chosen.only or SHAPES:
        for mean in MIXES:
            rates.append(
                measure(key, mean, chosen.device, precision, chosen.tokens, chosen.rounds, chosen.tiny)
            )
            print(rates[-1], flush=True)
    seconds, apart = two_workers("nomic-coderank", chosen.device, precision, chosen.tokens, chosen.tiny)
    workers = f"two workers on one device: {seconds:.1f} s with their start, vectors within {apart:.1e}"
    text = (
        f"{table(rates, limit).markdown()}\n- {workers}\n\n{chosen.device}, {precision}. {machine(_VERSIONS)}"
    )
    print(text)
    if not chosen.tiny and not chosen.only:
        write_section("cpu" if chosen.device == "cpu" else "gpu", text)


if __name__ == "__main__":
    main()
