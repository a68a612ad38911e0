"""Quality on judged queries: the default search, what each part of it gains, and what fitting it may flatter.

    python -m bench.quality FOLDER [FOLDER ...]

A FOLDER is a set: ``queries.json`` beside ``files/``, or a BEIR folder. A folder of such folders is one
group, of which the mean over its sets counts. Indexes are kept in ``.bench/quality``, the tables go to
docs/benchmarks.md. No set comes with this repository; docs/ranking.md tells which were measured.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench import FOLDER
from bench.report import Table, machine, write_section
from vecloom import Index
from vecloom.config import load_config
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.encoders.bm25_code import Bm25CodeEncoder
from vecloom.encoders.identifiers import JOINED
from vecloom.evaluate import Evaluation, Judged, evaluate, read_judged
from vecloom.evaluate.bootstrap import estimates
from vecloom.evaluate.metrics import Place
from vecloom.evaluate.metrics import scored as metrics_of
from vecloom.fusion import FusionName, ordered, spread_over_files, totals
from vecloom.pipeline.points import PASSAGE_FIELDS, passage_of
from vecloom.ranking import LAYERS, STRENGTHS, Contents, Strengths
from vecloom.registry import ModelSpec
from vecloom.search import Query, contents_of, scored
from vecloom.types import Passage, Schema, Scored, SparseRows, VectorField

#: Hits that count, and candidates that a leg gives.
K, DEPTH = 10, 100

_VERSIONS = ("vecloom", "qdrant-edge-py", "onnxruntime", "tokenizers", "numpy")
_DENSE, _WORDS = "qdrant-minilm", "bm25-code"
_SCHEMA = Schema((VectorField(_DENSE, "dense", 384), VectorField(_WORDS, "sparse", None, "idf")))
_FIELDS = (*PASSAGE_FIELDS, "source", "kind", "language", "start_line", "end_line")

#: What is fitted, and the values that were tried.
_GRID: Mapping[str, Sequence[float]] = {
    "words": (0.3, 0.375, 0.45, 0.5),
    "filename": (0.3, 0.4, 0.5),
    "definition": (0.1, 0.2, 0.3),
    "prose": (0.9, 1.0),
}

#: For each query of a set, its nDCG.
Scores: TypeAlias = NDArray[np.float64]
#: Sparse scores float64 [queries, chunks], with words joined and without.
Words: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"


@dataclass(frozen=True)
class Set:
    """One index with its judged queries. ``chunks``: payloads; ``dense`` float32 [chunks, dim]."""

    name: str
    group: str
    judged: Judged
    contents: Contents
    chunks: Sequence[Mapping[str, Any]]
    dense: NDArray[np.float32]
    asked: NDArray[np.float32]
    evaluation: Evaluation = field(repr=False)

    @cached_property
    def cosines(self) -> NDArray[np.float32]:
        """float32 [queries, chunks]."""
        return self.asked @ self.dense.T

    @cached_property
    def passages(self) -> list[Passage]:
        """The chunks as models are given them."""
        return [passage_of(payload) for payload in self.chunks]

    def words(self, encoder: Bm25Encoder | Bm25CodeEncoder) -> Words:
        """What an encoder's vectors score, exactly as an index with an idf does."""
        name = encoder.names[0]
        if isinstance(encoder, Bm25CodeEncoder):
            vectors, _ = encoder.encode_passages(self.passages)
        else:
            vectors, _ = encoder.encode_documents([one.encoded_text for one in self.passages])
        texts = [query.text for query in self.judged.queries]
        rows = encoder.encode_queries(texts)[name]
        terms = encoder.terms(texts, {name: rows})[name]
        joined = np.array([JOINED in term for term in terms], dtype=np.bool_)
        return (
            _sparse_scores(vectors[name], rows, np.ones(len(joined), np.bool_)),
            _sparse_scores(vectors[name], rows, ~joined),
        )

    def found(self, row: int, words: NDArray[np.float64] | None, dense: bool) -> dict[str, list[Scored]]:
        """The legs' lists for a query."""
        legs: dict[str, list[Scored]] = {}
        if dense:
            legs[_DENSE] = self._best(self.cosines[row], -math.inf)
        if words is not None and (hits := self._best(words[row], 0.0)):
            legs[_WORDS] = hits
        return legs

    def _best(self, scores: NDArray[Any], above: float) -> list[Scored]:
        order = np.argsort(-scores, kind="stable")[:DEPTH].tolist()
        return [Scored(str(i), float(scores[i]), self.chunks[i]) for i in order if scores[i] > above]

    def ndcg(self, way: Way) -> Scores:
        """The nDCG of each query, searched that way."""
        joins = self.contents.code and "joins" not in way.without
        words = None if way.words is None else way.words[self.name][0 if joins else 1]
        values = []
        for row, judged in enumerate(self.judged.queries):
            found = self.found(row, words, way.dense)
            query = Query(judged.text, fusion=way.fusion, without=way.without, per_file=way.per_file)
            shares, boosts = scored(query, found, _SCHEMA, self.contents, way.strengths)
            scores = {
                point: score + sum(boosts.get(point, {}).values()) for point, score in totals(shares).items()
            }
            ranked = spread_over_files(ordered(scores), self._file_of, way.per_file)[:K]
            places = [self._place(int(point)) for point, _ in ranked]
            values.append(metrics_of(judged, places, K)["ndcg"])
        return np.array(values)

    def _file_of(self, point: str) -> object:
        return self.chunks[int(point)]["source"], self.chunks[int(point)]["path"]

    def _place(self, chunk: int) -> Place:
        said = self.chunks[chunk]
        return Place(said["source"], said["path"], said["start_line"], said["end_line"])


@dataclass(frozen=True)
class Way:
    """A way to search. ``words``: what the sparse leg scores, by set; None: without it."""

    name: str
    words: Mapping[str, Words] | None
    dense: bool = True
    fusion: FusionName = "auto"
    without: tuple[str, ...] = ()
    per_file: int = 1
    strengths: Strengths = STRENGTHS


def _sparse_scores(rows: SparseRows, queries: SparseRows, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [queries, chunks]: the sum over a query's terms of idf times the chunk's weight."""
    count = len(rows)
    chunks = np.repeat(np.arange(count), np.diff(rows.indptr))
    order = np.argsort(rows.indices, kind="stable")
    indices, chunks, values = rows.indices[order], chunks[order], rows.values[order].astype(np.float64)
    scores = np.zeros((len(queries), count))
    for row in range(len(queries)):
        for at in range(queries.indptr[row], queries.indptr[row + 1]):
            if used[at]:
                term = queries.indices[at]
                first, last = np.searchsorted(indices, term), np.searchsorted(indices, term, "right")
                idf = math.log(1 + (count - (last - first) + 0.5) / (last - first + 0.5))
                scores[row, chunks[first:last]] += idf * values[first:last]
    return scores


def sets_of(folders: Sequence[Path]) -> Iterator[tuple[str, str, Path]]:
    """Name, group and folder of each set."""
    for folder in folders:
        if _is_set(folder):
            yield folder.name, folder.name, folder
        else:
            for inner in sorted(filter(_is_set, folder.iterdir())):
                yield inner.name, folder.name, inner


def _is_set(folder: Path) -> bool:
    return (folder / "queries.json").is_file() or (folder / "queries.jsonl").is_file()


def opened(name: str, group: str, folder: Path) -> Set:
    """Index a set, or open its index, and evaluate it."""
    place = FOLDER / "quality" / f"{group}-{name}"
    root = folder / "files" if (folder / "files").is_dir() else folder / "corpus.jsonl"
    judged = read_judged(folder)
    index = Index.open(place) if (place / "index.json").exists() else Index.create(place)
    with index:
        index.add(root)
        evaluation = evaluate(index, judged, k=K)
        engine = index._query_engine((_DENSE,), None)
        asked = engine.encode_queries([query.text for query in judged.queries], (_DENSE,))[_DENSE]
        with index._home.access.open("bench") as store:
            records = list(store.scroll(None, _FIELDS, (_DENSE,)))
            contents = contents_of(store)
    return Set(
        name=name,
        group=group,
        judged=judged,
        contents=contents,
        chunks=[record.payload for record in records],
        dense=np.stack([record.vectors[_DENSE] for record in records]),
        asked=np.asarray(asked),
        evaluation=evaluation,
    )


def encoded(sets: Sequence[Set], spec: ModelSpec, **changed: float | None) -> dict[str, Words]:
    """The sparse leg of a row, by set; settings that are None are left out."""
    said = {**spec.settings, **changed}
    spec = replace(spec, settings={name: value for name, value in said.items() if value is not None})
    code = spec.settings.get("words") == "identifiers"
    return {one.name: one.words(Bm25CodeEncoder(spec) if code else Bm25Encoder(spec)) for one in sets}


def ways(sets: Sequence[Set]) -> tuple[list[Way], list[Way]]:
    """The steps from one leg to the default search, and the default search without each of its parts."""
    registry = load_config().registry()
    code, plain = registry.find("bm25-code"), registry.find("qdrant-bm25")
    full = encoded(sets, code)
    bare = encoded(sets, code, file=None, folders=None, defines=None, within=None)
    former = encoded(sets, plain)
    every = tuple(layer for layer in LAYERS)
    steps = [
        Way("MiniLM alone, all chunks", None, fusion="rrf", per_file=1000),
        Way("MiniLM alone, one chunk a file", None, fusion="rrf"),
        Way("qdrant-bm25 alone", former, dense=False, fusion="rrf"),
        Way("bm25-code alone", full, dense=False, fusion="rrf"),
        Way("rrf of MiniLM and qdrant-bm25 (the former default, without BM42)", former, fusion="rrf"),
        Way("rrf of MiniLM and bm25-code", full, fusion="rrf"),
        Way("scores, 0.3 for words (no layer)", full, without=every),
        *(Way(f"... and {layer}", full, without=every[place + 1 :]) for place, layer in enumerate(every)),
    ]
    default = Way("the default search", full)
    parts = [
        default,
        *(Way(f"without {layer}", full, without=(layer,)) for layer in LAYERS),
        Way("without one chunk a file", full, per_file=1000),
        Way("without fields", bare),
        *(
            Way(f"without the field {name}", encoded(sets, code, **{name: None}))
            for name in ("file", "folders", "defines", "within")
        ),
        Way("qdrant-bm25 in place of bm25-code", former),
    ]
    return steps, parts


def _means(sets: Sequence[Set], scores: Mapping[str, Scores]) -> dict[str, float]:
    """Group -> the mean over its sets of the mean over their queries."""
    groups: dict[str, list[float]] = {}
    for one in sets:
        groups.setdefault(one.group, []).append(float(scores[one.name].mean()))
    return {group: float(np.mean(values)) for group, values in groups.items()}


def compared(sets: Sequence[Set], listed: Sequence[Way], base: Way | None) -> Table:
    """A way a row, a group a column; with ``base`` also the paired difference to it, in points."""
    groups = list(dict.fromkeys(one.group for one in sets))
    against = {one.name: one.ndcg(base) for one in sets} if base else {}
    rows = []
    for way in listed:
        scores = {one.name: one.ndcg(way) for one in sets}
        means = _means(sets, scores)
        cells = [way.name]
        for group in groups:
            cells.append(f"{means[group]:.4f}")
            if base:
                apart = np.concatenate([scores[s.name] - against[s.name] for s in sets if s.group == group])
                (one,) = estimates(100 * apart[:, None])
                cells.append("" if way is base else f"{one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}]")
        rows.append(cells)
        print(" | ".join(cells), flush=True)
    heads = [head for group in groups for head in ([group, "points"] if base else [group])]
    return Table(["nDCG@10", *heads], rows)


def left_out(sets: Sequence[Set], words: Mapping[str, Words]) -> Table:
    """What the group of most sets would have without each set among those that the layers were fitted on."""
    group = max((one.group for one in sets), key=[one.group for one in sets].count)
    mine = [one for one in sets if one.group == group]
    tried = [dict(zip(_GRID, values, strict=True)) for values in itertools.product(*_GRID.values())]
    means = np.array(
        [
            [one.ndcg(Way("", words, strengths=replace(STRENGTHS, **values))).mean() for one in mine]
            for values in tried
        ]
    )
    rows = []
    chosen = []
    for place, one in enumerate(mine):
        best = int(np.delete(means, place, axis=1).mean(axis=1).argmax())
        chosen.append(means[best, place])
        rows.append([one.name, *(f"{tried[best][name]:g}" for name in _GRID), f"{chosen[-1]:.4f}"])
    rows.append(["mean", *("" for _ in _GRID), f"{np.mean(chosen):.4f}"])
    flattering = f"the best of the {len(tried)} on all sets: {means.mean(axis=1).max():.4f}, the worst: "
    flattering += f"{means.mean(axis=1).min():.4f}; the shipped values: "
    shipped = [one.ndcg(Way("", words)).mean() for one in mine]
    return Table([f"{group}, left out", *_GRID, "nDCG@10"], rows, [flattering + f"{np.mean(shipped):.4f}"])


def judged_table(sets: Sequence[Set]) -> Table:
    """The search that users get, and its legs, over the real indexes."""
    names = list(dict.fromkeys(run.name for one in sets for run in one.evaluation.runs))
    groups = list(dict.fromkeys(one.group for one in sets))
    rows = []
    for name in names:
        cells = [name]
        for group in groups:
            runs = [
                run for one in sets if one.group == group for run in one.evaluation.runs if run.name == name
            ]
            means = [run.scores.mean(axis=0) for run in runs]
            pooled = np.concatenate([run.scores[:, :1] for run in runs])
            (one,) = estimates(pooled)
            half = (one.high - one.low) / 2
            middle = np.median(np.concatenate([run.milliseconds for run in runs]))
            ndcg, recall, mrr = np.mean(means, axis=0)
            cells.append(f"{ndcg:.4f} ±{half:.3f} / {recall:.3f} / {mrr:.3f}, {middle:.1f} ms")
        rows.append(cells)
    sizes = [
        f"{group}: {len(mine)} sets, {sum(len(one.judged.queries) for one in mine)} queries, "
        f"{sum(len(one.chunks) for one in mine):,} chunks of {_length(mine):.0f} characters on average"
        for group in groups
        if (mine := [one for one in sets if one.group == group])
    ]
    notes = ["nDCG@10 with half its 95 % interval over queries / recall@10 / MRR@10, median of a search"]
    return Table(["", *groups], rows, [*notes, *sizes])


def _length(sets: Sequence[Set]) -> float:
    return float(np.mean([len(one.text) for each in sets for one in each.passages]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="sets, or folders of sets")
    parser.add_argument("--print-only", action="store_true", help="leave docs/benchmarks.md as it is")
    said = parser.parse_args(arguments)
    sets = [opened(*each) for each in sets_of(said.folders)]
    steps, parts = ways(sets)
    judged = judged_table(sets)
    print(judged.markdown(), flush=True)
    tables: list[tuple[str, Callable[[], Table] | Table]] = [
        ("What users get, by `vecloom eval`", judged),
        ("Step by step", lambda: compared(sets, steps, None)),
        ("The default search without each part", lambda: compared(sets, parts, parts[0])),
        ("Left out of the fitting", lambda: left_out(sets, parts[0].words or {})),
    ]
    made = [f"### {title}\n\n{(t() if callable(t) else t).markdown()}" for title, t in tables]
    text = "\n\n".join([machine(_VERSIONS), *made])
    if not said.print_only:
        write_section("quality", text)
    print(text)


if __name__ == "__main__":
    main()
