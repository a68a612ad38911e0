"""A tree judged by its own words: its docstrings, doc comments and headings are the queries.

What became a query is taken out of what is embedded: a copy of the tree without these texts is indexed, for
as long as the evaluation takes. Its lines keep their numbers.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vecloom.config import Config
from vecloom.encoders.backends import How
from vecloom.errors import JudgmentsError, UsageError
from vecloom.evaluate.judged import SEED, Judged, JudgedQuery, Problem, Target, prepared
from vecloom.evaluate.mining import Mined, mined_document, without
from vecloom.evaluate.sentences import flattened
from vecloom.index import Index, Notice
from vecloom.pipeline.naming import name_sources
from vecloom.pipeline.reading import Reader
from vecloom.pipeline.report import Listener, Progress, quiet
from vecloom.recipe import Asked
from vecloom.sources import ScanOptions, Skip, read, scan
from vecloom.types import Document
from vecloom.weights import unheard

#: How many queries are mined unless more are asked for.
QUERIES = 200

#: What such queries can say, told with every figure.
NOTES = (
    "queries are first sentences of docstrings and doc comments, and headings; each was taken out of what is "
    "searched",
    "who wrote the code wrote them too and shares its words: real questions are harder. The figures compare "
    "settings on this tree with each other, not one tree with another",
)


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of the tree, and the queries that it could give.

    ``inside``: its place below the root; ``document``: None where it has no text.
    """

    inside: Path
    document: Document | None
    source: str
    data: bytes
    mined: tuple[Mined, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the file is its text, so that some of it can be taken out."""
        return self.inside.suffix.lower() not in (".ipynb", ".pdf", ".docx")


@dataclass(frozen=True, slots=True)
class MinedTree:
    """A tree's copy without the texts that became queries: source -> folder, and the queries."""

    roots: Mapping[str, Path]
    judged: Judged


def recipe_of(index: Index) -> Asked:
    """What to ask of an index that is to be made as this one was.

    Backend and precision are as recorded where all models that have a choice agree, else chosen anew.
    """
    status = index.status()
    runs = [run.split(", ") for run in status.runs.values()]
    backends = {backend for backend, _ in runs} - {"native"}
    precisions = {precision for backend, precision in runs if backend != "native"}
    how = How(
        backend=backends.pop() if len(backends) == 1 else None,
        precision=precisions.pop() if len(precisions) == 1 else None,
        task=status.task,
    )
    return Asked(status.models, status.chunk_tokens, status.overlap, how, status.avg_len or None)


@contextmanager
def mined_tree(
    trees: Mapping[str, Path] | Sequence[Path],
    *,
    most: int = QUERIES,
    exclude: Sequence[Path] = (),
    cache_dir: Path | None = None,
    listener: Listener = quiet,
) -> Iterator[MinedTree]:
    """The queries of trees (source -> root, or roots to be named), and a copy without them for this block.

    ``most``: at most so many, drawn by a fixed seed, spread over the files. ``exclude``: files and folders to
    be passed over, such as indexes. ``cache_dir``: where grammars are unpacked (None: their own default).

    Raises:
        UsageError: a root that does not exist, or a .jsonl of records.
        JudgmentsError: nothing in the trees can be a query.
    """
    named = dict(trees) if isinstance(trees, Mapping) else name_sources({}, trees, None)
    name = ", ".join(map(str, named.values()))
    settings = {"cache_dir": str(cache_dir or "")}
    files = list(_files(named, ScanOptions(exclude=tuple(exclude)), settings, listener))
    chosen, told = _chosen(files, most)
    if not chosen:
        raise JudgmentsError(
            f"{name} has no docstring, doc comment or heading of 4 to 25 words that could be a query; give "
            f"judged queries"
        )
    queries = [
        JudgedQuery(
            f"{source}/{path}:{one.start}",
            one.text,
            one.kind,
            (Target(path, one.start, one.end, source=source),),
        )
        for (source, path), found in chosen.items()
        for one in found
    ]
    judged = replace(prepared(f"docstrings of {name}", queries, told), notes=NOTES)
    with tempfile.TemporaryDirectory(prefix="vecloom-eval-") as folder:
        roots = _written(Path(folder), files, chosen)
        yield MinedTree(roots, judged)


@contextmanager
def indexed(
    tree: MinedTree,
    asked: Asked,
    *,
    config: Config,
    device: str = "auto",
    notice: Notice = unheard,
    listener: Listener = quiet,
) -> Iterator[Index]:
    """An index of the copy, made as asked, for this ``with`` block.

    Raises:
        UsageError, WeightsError, DeviceError, EncodingError: as for `vecloom.Index.create` and `add`.
    """
    how = replace(asked.how, device=device)
    with (
        tempfile.TemporaryDirectory(prefix="vecloom-eval-") as folder,
        Index.prepare(Path(folder) / "index", replace(asked, how=how), config=config, notice=notice) as index,
    ):
        for source, root in tree.roots.items():
            index.add(root, source=source, listener=listener)
        yield index


def _files(
    roots: Mapping[str, Path], options: ScanOptions, settings: Mapping[str, str], listener: Listener
) -> Iterator[Copied]:
    """Every file that an index of these trees would hold."""
    for root in roots.values():
        if root.suffix.lower() == ".jsonl" and root.is_file():
            raise UsageError(f"{root} holds records, which have no docstrings; give judged queries for them")
    for source, root in roots.items():
        top = root.resolve()
        number = 0
        with Reader("vecloom.evaluate.mining:mine_documents", settings, mined_document) as reader:
            for file in scan(root, options):
                if isinstance(file, Skip) or isinstance(data := read(file), Skip):
                    continue
                found = reader.read(source, file, data)
                inside = file.absolute.relative_to(top) if top.is_dir() else Path(file.absolute.name)
                document, mined = (None, ()) if isinstance(found, Skip) else found
                yield Copied(inside, document, source, data, mined)
                number += 1
                listener(Progress("read", number, None, "files", source))


_Chosen = dict[tuple[str, str], list[Mined]]


def _chosen(files: Sequence[Copied], most: int) -> tuple[_Chosen, list[Problem]]:
    """The queries by file: one of each file in turn, files and what is in them in an order of the seed.

    A text whose words stand elsewhere in the trees too, outside of what is cut for it, is no query: it would
    be found by that copy.
    """
    draw = random.Random(SEED)
    held = [(file.document, file) for file in files if file.document is not None]
    texts = [flattened(document.text) for document, _ in held]
    everything = b"\n".join(texts)
    waiting = []
    for number, (document, file) in enumerate(held):
        if file.plain and (found := [*file.mined]):
            draw.shuffle(found)
            waiting.append((number, document, found))
    draw.shuffle(waiting)
    chosen: _Chosen = {}
    taken, elsewhere = 0, []
    while waiting and taken < most:
        for number, document, found in waiting:
            while found and taken < most:
                one = found.pop()
                said = flattened(one.text)
                rest = flattened(without(document.text.encode(), [one]).decode())
                if everything.count(said) + rest.count(said) > texts[number].count(said):
                    elsewhere.append(one.text)
                    continue
                chosen.setdefault((document.source, document.path), []).append(one)
                taken += 1
                break
        waiting = [item for item in waiting if item[2]]
    text = f"texts that stand in the tree more than once, and so are no queries: {len(elsewhere):,}"
    told = [Problem("texts_said_elsewhere", len(elsewhere), text, tuple(elsewhere[:3]))] if elsewhere else []
    return {key: sorted(found, key=lambda one: one.cut) for key, found in sorted(chosen.items())}, told


def _written(folder: Path, files: Sequence[Copied], chosen: _Chosen) -> dict[str, Path]:
    """Write the copy; source -> its folder.

    The mark of a work tree stands above, so that ignore files further up say nothing about it.
    """
    (folder / ".git").mkdir()
    roots: dict[str, Path] = {}
    for file in files:
        root = roots.setdefault(file.source, folder / f"{len(roots)}")
        data = file.data
        if file.document is not None and file.plain:
            mined = chosen.get((file.source, file.document.path), [])
            data = without(file.document.text.encode(), mined)
        target = root / file.inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return roots
