"""The public facade: an index is a folder, or a collection of a Qdrant server; add trees to it, search it.

What only an index run needs is imported where one begins: a search in a new process is mostly imports.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vecloom.arguments import check_integer, check_mapping, check_number, check_path, check_text, check_texts
from vecloom.config import Config, load_config
from vecloom.encoders.backends import ANYHOW, How, Runs, check_device, query_runs
from vecloom.encoders.load import Pass
from vecloom.engine import Engine
from vecloom.errors import IndexFormatError, UsageError
from vecloom.fusion import FusionName
from vecloom.pipeline.home import FolderHome, Home
from vecloom.pipeline.manifest import FILE_NAME, Manifest, load_manifest, widened
from vecloom.pipeline.naming import name_sources
from vecloom.pipeline.places import Place, folder_of, home_of, is_url
from vecloom.pipeline.report import IndexReport, Listener, both, quiet
from vecloom.pipeline.reranking import Reranker
from vecloom.pipeline.setup import chunking_for, engine_of, instant_names, passes_for, pinned
from vecloom.pipeline.status import IndexStatus, advice_for, status_of
from vecloom.ranking import RERANK_TOP, WORD_LEGS, Contents, word_legs
from vecloom.recipe import Asked, AvgLen, new_recipe, query_task, weighing_lengths
from vecloom.registry import DEFAULT_MODELS, ModelSpec
from vecloom.search import Query, contents_of, encoded_texts, search
from vecloom.types import Hit, SparseRows, Vectors
from vecloom.weights import unheard

if TYPE_CHECKING:
    from vecloom.pipeline.reading import ChunkSettings
    from vecloom.stores import Store

#: Takes lines that a person should see, such as what is being fetched.
Notice = Callable[[str], None]

#: Seconds that what an index holds is believed: others may add to a server's collection and tell nobody.
_CONTENTS_SECONDS = 60.0

#: Where a rebuilt index grows until it takes the old one's place.
_REBUILD = "rebuild"


class Index:
    """An index: points in a folder or a collection, and the settings that it was made with.

    Any number of processes may search while one adds. Close it, or use it as a context manager.
    """

    def __init__(
        self, home: Home, config: Config, manifest: Manifest, notice: Notice, device: str = "auto"
    ) -> None:
        """Use `create`, `open` or `prepare`."""
        self._home = home
        self._config = config
        self._registry = config.registry()
        self._manifest = manifest
        self._seen: object = None
        self._schema = manifest.schema(self._registry)
        self._notice = notice
        self._device = device
        self._engines: dict[object, Engine] = {}
        self._rerankers: dict[str, Reranker] = {}
        self._contents: Contents | None = None
        self._contents_read = 0.0

    @classmethod
    def create(
        cls,
        place: Place,
        models: Sequence[str] = DEFAULT_MODELS,
        *,
        collection: str | None = None,
        chunk_tokens: int | None = None,
        overlap: int = 0,
        how: How = ANYHOW,
        avg_len: AvgLen | None = None,
        config: Config | None = None,
        notice: Notice = unheard,
    ) -> Self:
        """Make an empty index, once the models' files are here.

        ``place``: a new or empty folder, or the URL of a Qdrant server (and ``collection``, a new one there).
        ``chunk_tokens`` counts all that a model sees (special tokens and context header included); by default
        the smallest recommended length of the models, at most 512. ``how``: backend, precision, device, and
        the task whose prompts the documents are given. ``avg_len``: BM25's average length of a chunk in words
        instead of the rows' own: one number, or by vector name. ``notice`` takes lines for a person.

        Raises:
            UsageError: the folder or collection holds something already, or a number is out of range.
            UnknownModelError: a model that no row answers to.
            WeightsError: a model's files cannot be had.
            DeviceError: the device is not there, or lacks the precision.
            MissingExtraError: a backend is not installed, or the client of servers.
            StoreError: the server does not answer, or refuses.
        """
        config = config or load_config()
        home = home_of(place, collection, config)
        recipe = new_recipe(
            config.registry(),
            Asked(tuple(check_texts("models", models)), chunk_tokens, overlap, how, avg_len),
        )
        manifest = Manifest.of(recipe)
        home.require_vacant(manifest)
        index = cls(home, config, manifest, notice, how.device)
        home.create(index._ready(), manifest.schema(config.registry()))
        return index

    @classmethod
    def open(
        cls,
        place: Place,
        *,
        collection: str | None = None,
        device: str = "auto",
        config: Config | None = None,
        notice: Notice = unheard,
    ) -> Self:
        """Open an index. ``device``: where its models run that can be moved (see `create`).

        Raises:
            IndexFormatError: there is none, or a newer version made it.
            IndexMismatchError: a model's row changed since it was made.
            UsageError: no model of it runs on the device.
            StoreError: the server does not answer, or refuses.
        """
        config = config or load_config()
        home = home_of(place, collection, config, notice)
        manifest = home.load()
        specs = manifest.specs(config.registry())
        check_device(specs, [record.backend for record in manifest.models], device)
        return cls(home, config, manifest, notice, device)

    @classmethod
    def prepare(
        cls,
        place: Place,
        asked: Asked,
        *,
        collection: str | None = None,
        config: Config | None = None,
        notice: Notice = unheard,
    ) -> Self:
        """Open the index, or create it as asked; further models asked for are added.

        Raises:
            IndexMismatchError: what is asked can only be had with `rebuild`.
        """
        config = config or load_config()
        home = home_of(place, collection, config)
        if not home.exists():
            try:
                return cls.create(
                    place,
                    asked.models or DEFAULT_MODELS,
                    collection=collection,
                    chunk_tokens=asked.chunk_tokens,
                    overlap=asked.overlap or 0,
                    how=asked.how,
                    avg_len=asked.avg_len,
                    config=config,
                    notice=notice,
                )
            except UsageError:
                if not home.exists():
                    raise
                # Another process made it meanwhile.
        device = asked.how.device
        index = cls.open(place, collection=collection, device=device, config=config, notice=notice)
        if widened(index._manifest, index._registry, asked) != index._manifest:
            home = index._home
            with home.writing("add a model"):
                wanted = widened(home.load(), index._registry, asked)
                home.save(cls(home, config, wanted, notice, device)._ready())
            index._load()
        return index

    @classmethod
    def rebuild(
        cls,
        place: Place,
        asked: Asked,
        *roots: str | os.PathLike[str],
        source: str | None = None,
        delete_gone: bool = False,
        config: Config | None = None,
        notice: Notice = unheard,
        listener: Listener = quiet,
    ) -> IndexReport:
        """Make an index anew beside the old one, which answers until the new one takes its place.

        All its sources are indexed again, and ``roots``; what is not asked otherwise stays as it was (for
        other models the budget is chosen anew). An average length "auto" is measured first, by one reading of
        the trees. A killed rebuild goes on when it is called again.

        Raises:
            UsageError: the old index cannot be read and no root is named, or a source's root is gone, or is
                there and its files are gone (see `add`) and not ``delete_gone``; or the
                index is a collection, which is made anew beside itself.
            IndexFormatError: the folder holds no index.
        """
        from vecloom.pipeline.run import require_present
        from vecloom.pipeline.shards import adopt

        check_path("place", place)
        if is_url(place):
            raise UsageError(
                "a collection is made anew beside the old one: name another --collection, then forget the old"
            )
        path = folder_of(place)
        config = config or load_config()
        former = _readable(path)
        if former is not None:
            asked = former.asked_again(config.registry(), asked)
        elif not (path / FILE_NAME).exists():
            raise IndexFormatError(f"{path} holds no index to rebuild; leave --rebuild out")
        known = dict(former.sources) if former is not None else {}
        sources = {name: Path(root) for name, root in known.items()}
        if roots or not known:
            sources |= name_sources(known, roots, source)
        for name in sources:
            if known.get(name) == "" and sources[name] == Path():
                raise UsageError(
                    f"the source {name} came with a pack: load that into a new index, or say where its tree "
                    f"is: vecloom index PATH --source {name}"
                )
        for name, root in sources.items():
            if not root.exists():
                raise UsageError(f"{root}, the root of {name}, is gone; forget it first: --remove {name}")
        home = FolderHome(path, config.registry())
        with home.writing("index --rebuild") as progress:
            side = path / _REBUILD
            tell = both(listener, progress)
            if asked.avg_len == "auto":
                unmeasured = Manifest.of(new_recipe(config.registry(), replace(asked, avg_len=None)))
                measuring = cls(home, config, unmeasured, notice, asked.how.device)
                asked = replace(asked, avg_len=measuring._average_lengths(sources, tell, path))
            made = Manifest.of(new_recipe(config.registry(), asked))
            wanted = cls(home, config, made, notice, asked.how.device)._ready()
            begun = _readable(side)
            if begun is None or not begun.same_settings(wanted) or not (side / begun.shard).is_dir():
                shutil.rmtree(side, ignore_errors=True)
            with cls.prepare(side, asked, config=config, notice=notice) as index:
                for name in index.sources.keys() - sources.keys():
                    index.remove(name)
                report = index._store(sources, tell, path)
            if former is not None and not delete_gone:
                require_present(home, former, index.folder, sources)
            adopt(path, side)
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def place(self) -> str:
        """The folder, or the URL with the collection."""
        return self._home.name

    @property
    def folder(self) -> Path:
        """The folder of the index; of a collection, the folder of this machine that remembers its files."""
        return self._home.local

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of the models that fill the index's vectors."""
        return tuple(record.name for record in self._manifest.models)

    @property
    def sources(self) -> Mapping[str, str]:
        """Name -> root of the indexed trees."""
        return dict(self._manifest.sources)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Vector names that some points lack: an index run is filling them, or was stopped."""
        return self._home.load().incomplete

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Sources that an index run has begun to read and not read to the end."""
        return self._home.load().unfinished

    @property
    def absent(self) -> tuple[str, ...]:
        """Sources whose root was gone at the last run: what is gone with it is kept, and no hit.

        As of the last search or run through this object.
        """
        return self._manifest.absent

    @property
    def advice(self) -> str:
        """What a user might want to change since a newer version is here, in a line; "" where nothing."""
        return advice_for(self.models)

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The rows of `models`."""
        return self._manifest.specs(self._registry)

    def _load(self) -> Manifest:
        """The manifest as it is now: another process may have added a model, or made the index anew."""
        seen = self._home.stamp()
        if seen is None or seen != self._seen:
            manifest = self._home.load()
            if not manifest.same_settings(self._manifest):
                self._engines.clear()
            if manifest != self._manifest or seen is not None:  # else the manifest is read every time
                self._contents = None
            self._schema = manifest.schema(self._registry)
            self._manifest, self._seen = manifest, seen
        return self._manifest

    def _passes(self, names: Sequence[str]) -> list[Pass]:
        """The passes that yield these vectors, run as it is recorded; only their models' files are needed.

        Raises:
            IndexMismatchError: a model's files are others than the index was made with.
            WeightsError: they cannot be had.
            DeviceError: the device that was asked for is not there.
        """
        specs, runs = self._rows(names)
        how = How(device=self._device, task=self._manifest.task)
        passes = passes_for(specs, self._config, self._notice, runs, how)
        self._pinned(names)
        return passes

    def _query_engine(self, names: Sequence[str], task: str | None) -> Engine:
        """An engine for queries against these vectors, made once.

        Raises:
            UsageError: no model knows the task, or the documents were encoded for another one.
            IndexMismatchError: a model's files are others than the index was made with.
            WeightsError: they cannot be had.
        """
        key = (tuple(names), task)
        if key not in self._engines:
            specs, runs = self._rows(names)
            task = query_task(specs, self._manifest.task, task)
            fitting = [query_runs(spec, run, self._device) for spec, run in zip(specs, runs, strict=True)]
            how = How(device=self._device, task=task)
            engine = engine_of(passes_for(specs, self._config, self._notice, fitting, how))
            self._pinned(names)
            self._engines[key] = engine
        return self._engines[key]

    def _rows(self, names: Sequence[str]) -> tuple[list[ModelSpec], list[Runs]]:
        """The rows of these vectors, and how they were run."""
        pairs = zip(self.specs, self._manifest.models, strict=True)
        chosen = [(spec, record.runs) for spec, record in pairs if spec.vector_name in names]
        return [spec for spec, _ in chosen], [runs for _, runs in chosen]

    def _pinned(self, names: Sequence[str]) -> Manifest:
        """The manifest with the hashes of these models' files, which must be those it was made with."""
        return pinned(self._manifest, self.specs, names, self._config, self._notice)

    def add(
        self,
        *roots: str | os.PathLike[str],
        source: str | None = None,
        delete_gone: bool = False,
        listener: Listener = quiet,
    ) -> IndexReport:
        """Index trees (folders, files, BEIR ``.jsonl`` files), or bring them up to date.

        A root that is a source already keeps its name; a new one is called ``source`` (one root only) or by
        its own base name.

        Where a root is empty, lies on another device than before or has lost its .git, and at least 90 % and
        100 of its files are gone, their points are kept and hidden (`IndexReport.absent`); ``delete_gone``
        deletes them.

        Raises:
            UsageError: a root that does not exist, or ``source`` with several roots.
            StoreBusyError: another process is indexing into this index.
            WeightsError: a model's files cannot be had.
            DeviceError: the device is not there, is too small, or lacks a recorded precision.
            EncodingError: a model gave NaN, or a text does not fit the device's memory.
        """
        with self._home.writing(f"index {' '.join(str(root) for root in roots)}") as progress:
            named = name_sources(self._load().sources, roots, source)
            return self._store(named, both(listener, progress), self._home.local, delete_gone)

    def _ready(self) -> Manifest:
        """The manifest of an index to be made, or given a model, once the models' files are here."""
        names = self._manifest.names
        engine_of(self._passes(names))
        return self._pinned(names)

    def _store(
        self, sources: Mapping[str, Path], listener: Listener, home: Path, delete_gone: bool = False
    ) -> IndexReport:
        """Index trees; ``home`` is the folder of the index that a user knows."""
        from vecloom.pipeline.run import Run

        manifest = self._manifest
        passes = self._passes(manifest.names)
        engine = engine_of(passes)
        run = Run(
            home=self._home,
            engine=engine,
            passes=passes,
            chunking=self._chunking(engine),
            instant=instant_names(self.specs),
            exclude=self._no_tree(home),
            notice=self._notice,
            listener=listener,
            delete_gone=delete_gone,
        )
        self._home.save(self._pinned(manifest.names))
        report = run.store(sources)
        self._contents = None
        self._load()
        if self.advice:
            self._notice(self.advice)
        return report

    def _average_lengths(
        self, sources: Mapping[str, Path], listener: Listener, home: Path
    ) -> Mapping[str, float]:
        """Vector name -> how many words the chunks of trees have on average; told in a line, too."""
        from vecloom.pipeline.measuring import average_lengths
        from vecloom.sources import ScanOptions

        weighing_lengths(self.specs)
        engine = engine_of(self._passes(self._manifest.names))
        options = ScanOptions(exclude=self._no_tree(home))
        found = average_lengths(sources, engine, self._chunking(engine), options, listener)
        said = ", ".join(f"{length:,.2f} words ({name})" for name, length in found.items())
        self._notice(
            f"average length of a chunk: {said or 'there is no word; the own ones of the models hold'}"
        )
        return found

    def _chunking(self, engine: Engine) -> ChunkSettings:
        manifest = self._manifest
        cache_dir = self._config.cache_dir
        return chunking_for(manifest.counted_by, engine, manifest.chunk_tokens, manifest.overlap, cache_dir)

    def _no_tree(self, home: Path) -> tuple[Path, ...]:
        """Folders that belong to no tree, such as that of the index itself."""
        return home, self._config.data_dir, self._config.cache_dir

    def remove(self, source: str) -> int:
        """Forget a source: delete its points, and return how many there were.

        Raises:
            UsageError: the index has no source of this name.
        """
        from vecloom.pipeline.run import remove_source

        check_text("source", source)
        with self._home.writing(f"index --remove {source}"):
            self._load()
            if source not in self._manifest.sources:
                have = ", ".join(self._manifest.sources) or "none"
                raise UsageError(f"the index has no source {source!r}; it has {have}")
            deleted = remove_source(self._home, source)
            self._load()
            return deleted

    def search(
        self,
        text: str,
        limit: int = 10,
        *,
        using: Sequence[str] = (),
        fusion: FusionName | None = None,
        weights: Mapping[str, float] | None = None,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        per_file: int = 1,
        without: Sequence[str] = (),
        task: str | None = None,
        explain: bool = False,
        rerank: str | None = None,
        rerank_top: int | None = None,
    ) -> list[Hit]:
        """The best chunks for a question, best first.

        By default legs are weighed by what the query finds, and paths and names have a say (docs/ranking.md);
        ``without`` leaves layers of that out, and a ``fusion``, ``using`` or ``weights`` asks for just that.

        ``using`` and ``weights`` take keys, aliases or vector names of the index's models. ``filters``: path
        (globs), language, kind, source -> a value, or several of which one must match. ``per_file``: after
        that many chunks a file's others come only once other files run out. ``task``: whose prompt the query
        is given, of the models that have several. ``explain``: each hit tells why it stands where it does.

        ``rerank``: a reranker that reads the best hits (30, or ``rerank_top``) together with the query, and
        orders them by its scores (`Hit.reranked`). Its model is loaded once.

        Raises:
            UsageError: an empty query, an unknown name, fusion, layer, filter or task, or no reranker.
            WeightsError: a model's files cannot be had.
            DeviceError: the device that was asked for is not there.
            MissingExtraError: the reranker runs on PyTorch, which is not installed.
            StoreBusyError: the shard could not be had within 10 s; the message says who holds it.
        """
        check_text("text", text)
        for name, value in (("fusion", fusion), ("task", task)):
            if value is not None:
                check_text(name, value)
        using, without = check_texts("using", using), check_texts("without", without)
        weights = check_mapping("weights", weights, "{'bm25-code': 2.0}")
        filters = check_mapping("filters", filters, "{'path': '*.py'}")
        if rerank is None and rerank_top is not None:
            raise UsageError(f"{rerank_top} hits are to be reranked, by which model? Name it: --rerank MODEL")
        reranker = None if rerank is None else self._reranker(rerank)
        query = Query(
            text,
            check_integer("limit", limit),
            tuple(map(self._vector_name, using)),
            fusion,
            {
                self._vector_name(name): check_number(f"weights[{name!r}]", weight)
                for name, weight in weights.items()
            },
            {key: _values(key, values) for key, values in filters.items()},
            check_integer("per_file", per_file),
            tuple(without),
            explain,
            None
            if reranker is None
            else RERANK_TOP
            if rerank_top is None
            else check_integer("rerank_top", rerank_top),
        )
        manifest = self._load()
        incomplete = manifest.incomplete
        names = query.names(self._schema, incomplete)
        if reranker is not None:
            reranker.fetch()
        engine = self._query_engine(names, task)
        vectors = engine.encode_queries([text], names)
        ranks = query.fused == "auto"
        # What a learned vocabulary calls its words is only told, and takes a while.
        words = word_legs(self._schema.vectors) if ranks else ()
        terms = _terms(engine, text, {name: v for name, v in vectors.items() if explain or name in words})
        with self._home.access.open("search") as store:
            if ranks:
                self._read_contents(store)
            hits = search(
                store,
                query,
                vectors,
                incomplete=incomplete,
                contents=self._contents,
                terms=terms,
                hide_absent=bool(manifest.absent),
            )
            texts = [] if reranker is None else encoded_texts(store, hits)
        # Others may have the shard while the model reads.
        return hits if reranker is None else reranker.reranked(query, hits, texts)

    def _reranker(self, model: str) -> Reranker:
        """A reranker, made once; its model is loaded on its first use."""
        key = self._registry.reranker(check_text("rerank", model)).key
        if key not in self._rerankers:
            how = How(device=self._device)
            self._rerankers[key] = Reranker(key, how=how, config=self._config, notice=self._notice)
        return self._rerankers[key]

    def _read_contents(self, store: Store) -> None:
        """See to it that what the index holds is known, and not long ago."""
        now = time.monotonic()
        if self._contents is None or now > self._contents_read + _CONTENTS_SECONDS:
            self._contents, self._contents_read = contents_of(store), now

    def _vector_name(self, name: str) -> str:
        own = {record.vector_name for record in self._manifest.models}
        if name in own:
            return name
        found = self._registry.find(name).vector_name
        # BM25 is called by either name where an index has only one of the two.
        return WORD_LEGS[0] if found == WORD_LEGS[1] and found not in own and WORD_LEGS[0] in own else found

    def status(self) -> IndexStatus:
        """What the index holds, counted now."""
        return status_of(self._home)

    def close(self) -> None:
        """Let go of the shard."""
        self._home.access.close()

    def files(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What the points tell of their files: (source, path) -> (chunks, last line)."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        with self._home.access.open("files") as store:
            for record in store.scroll(fields=("source", "path", "end_line")):
                file = (record.payload["source"], record.payload["path"])
                chunks, last = found.get(file, (0, 0))
                found[file] = (chunks + 1, max(last, record.payload["end_line"]))
        return found


def _terms(engine: Engine, text: str, vectors: Mapping[str, Vectors]) -> dict[str, dict[int, str]]:
    """Sparse vector -> index in the encoded query -> the word behind it."""
    words = engine.terms([text], vectors)
    rows = {name: found for name, found in vectors.items() if isinstance(found, SparseRows)}
    return {name: dict(zip(rows[name].indices.tolist(), words[name][0], strict=True)) for name in words}


def _values(key: str, values: str | Sequence[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(check_texts(f"filters[{key!r}]", values))


def _readable(folder: Path) -> Manifest | None:
    """The manifest of an index, or None where there is none or it cannot be read."""
    try:
        return load_manifest(folder)
    except IndexFormatError:
        return None
