"""Packs: vectors computed here, carried as files, and served elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecloom.arguments import check_number, check_path, check_text, check_texts
from vecloom.config import Config, load_config
from vecloom.durable import PART
from vecloom.encoders.backends import ANYHOW, How
from vecloom.errors import IndexMismatchError, StoreBusyError, UsageError
from vecloom.pack.files import MANIFEST, FolderFiles
from vecloom.pack.manifest import PackManifest, load_pack_manifest
from vecloom.pack.reading import Pack
from vecloom.pipeline.manifest import Manifest
from vecloom.pipeline.naming import name_sources
from vecloom.pipeline.places import Place, folder_of, home_of, is_url
from vecloom.pipeline.report import IndexReport, Listener, Progress, both, quiet
from vecloom.pipeline.setup import chunking_for, engine_of, instant_names, passes_for, pinned
from vecloom.pipeline.writer import FILE_NAMES, writing
from vecloom.recipe import Asked, changed, new_recipe
from vecloom.registry import ModelSpec
from vecloom.types import ProfileName, VectorField
from vecloom.weights import Weights, unheard

if TYPE_CHECKING:
    from vecloom.pipeline.collection import CollectionHome
    from vecloom.pipeline.exporting import FormatName
    from vecloom.pipeline.home import Home
    from vecloom.pipeline.loading import LoadReport

Notice = Callable[[str], None]

#: What a run that is killed before the first manifest leaves in the folder.
_BEGUN = FILE_NAMES | {f"{MANIFEST}{PART}"}


def embed(
    out: str | os.PathLike[str],
    *roots: str | os.PathLike[str],
    models: Sequence[str] = (),
    chunk_tokens: int | None = None,
    overlap: int | None = None,
    how: How = ANYHOW,
    source: str | None = None,
    half: bool | None = None,
    seconds: float | None = None,
    delete_gone: bool = False,
    config: Config | None = None,
    notice: Notice = unheard,
    listener: Listener = quiet,
) -> IndexReport:
    """Chunk and encode trees into a pack, or go on with one; see `vecloom.pack`.

    The pack then holds the trees of ``roots`` and nothing else; without any, its points stay, and only what
    they lack is computed, such as the vectors of a further model. ``models``, ``chunk_tokens``, ``overlap``,
    ``how``: as for an index; without a wish those of the pack, or the default ones. ``half``: dense vectors
    as float16 (None: as the pack has them, else float32). ``seconds``: after that time the run stops where it
    can go on. ``delete_gone``: leave documents out also where their whole tree is empty now.

    Raises:
        UsageError: a root that does not exist, one that is empty where the pack has at least 100 documents of
            it, or a folder that holds something else.
        IndexMismatchError: the pack was made with other settings.
        PackError: the pack is damaged.
        TimeLimitError: the time is over.
        WeightsError, DeviceError, MissingExtraError: as for an index.
    """
    until = None if seconds is None else time.monotonic() + check_number("seconds", seconds)
    folder, config = Path(check_path("out", out)).absolute(), config or load_config()
    asked = Asked(tuple(check_texts("models", models)), chunk_tokens, overlap, how)
    named = name_sources({}, roots, source) if roots else None
    manifest = _prepared(folder, asked, half, config)
    if named is None and not manifest.read:
        raise UsageError(f"{folder} does not hold its trees to the end; name the PATH again")
    specs = manifest.specs(config.registry())
    runs = [record.runs for record in manifest.models]
    passes = passes_for(specs, config, notice, runs, How(device=how.device, task=manifest.task))
    engine = engine_of(passes)
    manifest = pinned(manifest, specs, manifest.names, config, notice)
    manifest = replace(manifest, rows=tuple(_row(spec, config, notice) for spec in specs))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with writing(folder, f"embed {' '.join(map(str, roots))}") as progress:
        from vecloom.pack.writing import PackWriter
        from vecloom.pipeline.embedding import Embedding

        if (folder / MANIFEST).exists():
            there = load_pack_manifest(FolderFiles(folder))
            if not set(there.names) <= set(manifest.names) or there.differences(manifest):
                raise StoreBusyError(f"{folder} was changed by another run meanwhile; run again")
            manifest = replace(
                manifest, shards=there.shards, former=there.former, read=there.read, sources=there.sources
            )
            if not delete_gone:
                _require_trees(folder, there, named or {})
        if not manifest.shards:
            manifest = _sized(manifest, passes)
        run = Embedding(
            writer=PackWriter(folder, manifest),
            engine=engine,
            passes=passes,
            chunking=chunking_for(
                manifest.counted_by, engine, manifest.chunk_tokens, manifest.overlap, config.cache_dir
            ),
            instant=instant_names(specs),
            exclude=(folder, config.data_dir, config.cache_dir),
            notice=notice,
            listener=both(listener, progress),
            until=until,
        )
        run.writer.save()
        return run.run(named)


def _require_trees(folder: Path, manifest: PackManifest, roots: Mapping[str, Path]) -> None:
    """Refuse to empty a pack because a tree is empty, as on a drive that is not mounted.

    Raises:
        UsageError: a tree is empty, and the pack holds many documents of it.
    """
    from vecloom.pipeline.absence import LEAST_FILES, is_empty

    empty = {name: root for name, root in roots.items() if name in manifest.sources and is_empty(root)}
    if not empty:
        return
    pack = Pack(FolderFiles(folder), manifest)
    paths: dict[str, set[str]] = {name: set() for name in empty}
    for shard in manifest.shards:
        for table in pack.tables(shard, ["source", "path"]):
            columns = (table.column(name).to_pylist() for name in ("source", "path"))
            for source, path in zip(*columns, strict=True):
                paths.get(source, set()).add(path)
    for name, root in empty.items():
        if len(paths[name]) >= LEAST_FILES:
            raise UsageError(
                f"{root} is empty, and the pack has {len(paths[name]):,} documents of {name}: bring the tree "
                f"back, or leave them out: --yes"
            )


def _prepared(folder: Path, asked: Asked, half: bool | None, config: Config) -> PackManifest:
    """The manifest of the pack in ``folder`` with what is asked, or of a new one."""
    registry = config.registry()
    if (folder / MANIFEST).exists():
        manifest = changed(load_pack_manifest(FolderFiles(folder)), registry, asked)
        if half is not None and half != manifest.half:
            raise IndexMismatchError(
                f"the pack's vectors are float{16 if manifest.half else 32}; {PackManifest.anew}"
            )
    elif folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - _BEGUN):
        raise UsageError(f"{folder} is not empty and holds no pack; name another --out")
    else:
        manifest = PackManifest.of(new_recipe(registry, asked), half=bool(half))
    return replace(manifest, fields=manifest.schema(registry).vectors)


def _sized(manifest: PackManifest, passes: Sequence[Any]) -> PackManifest:
    """The manifest with shards of the size of a window: what a kill can cost."""
    from vecloom.encoders.load import groups_of
    from vecloom.pipeline.filling import window_size

    sizes = [window_size(group) for group in groups_of([one for one in passes if one.folder is not None])]
    if not sizes:
        return manifest
    return replace(
        manifest, shard_points=min(size.texts for size in sizes), shard_bytes=min(size.size for size in sizes)
    )


def _row(spec: ModelSpec, config: Config, notice: Notice) -> dict[str, Any]:
    """A model's row as the pack tells it to others: where its files come from, with their sha256."""
    said = {name: value for name, value in asdict(spec).items() if value and name not in ("golden", "wheel")}
    if spec.weights_id is not None and (origin := Weights(config, notice).origin(spec)) is not None:
        said["files"] = {name: file.sha256 for name, file in sorted(origin.files.items())}
    return said


def load(
    pack: str | os.PathLike[str],
    to: Place,
    *,
    collection: str | None = None,
    profile: ProfileName | None = None,
    alias: str | None = None,
    config: Config | None = None,
    notice: Notice = unheard,
    listener: Listener = quiet,
) -> LoadReport:
    """Bring an index in line with a pack (a folder or its zip): a new one, or one that was made alike.

    ``to``: a folder, or the URL of a Qdrant server. Points of the pack's sources that the pack has not are
    deleted; those of other sources stay, and so do vectors that only the index has. ``alias``: build a new
    collection, and let this name mean it once it is whole. A killed load goes on when it is called again.
    The whole pack is read and checked before anything of the target changes.

    Raises:
        PackError: the pack is damaged, or not finished.
        IndexMismatchError: the index was made otherwise; the message names the difference.
        StoreError: the store refuses, or does not hold what was sent.
        UsageError: an alias for a folder.
    """
    from vecloom.pipeline.loading import Loading, joined_with, pack_id, require_finished
    from vecloom.pipeline.validation import validate_pack

    config = config or load_config()
    opened = Pack.open(Path(check_path("pack", pack)))
    require_finished(opened)
    if alias is not None:
        if not is_url(to):
            raise UsageError(f"--alias {alias} is a name on a server; --to {to} is none")
        collection = collection or f"{alias}-{pack_id(opened.manifest)[:8]}"
    home = home_of(to, collection, config)
    if alias is not None:
        _checked(home).require_alias(alias)
    manifest = Manifest.of(
        opened.manifest,
        sources=dict.fromkeys(opened.manifest.sources, ""),
        profile=profile or "default",
    )
    schema = manifest.schema(config.registry())
    if home.exists():
        joined_with(home.load(), opened.manifest, home.name)
    validate_pack(opened, schema, listener)
    if not home.exists():
        home.create(manifest, schema)
    with home.writing("load") as progress:
        manifest = home.load()
        if profile is not None and profile != manifest.profile:
            raise IndexMismatchError(
                f"{home.name} has the profile {manifest.profile}, not {profile}; load it into another one"
            )
        joined = joined_with(manifest, opened.manifest, home.name)
        as_it_is = home_of(to, collection, config)  # `home` opens its store with the models that it saved
        try:
            Loading(opened, as_it_is, quiet).require_same_trees()
        finally:
            as_it_is.access.close()
        if joined != manifest:
            home.save(joined)
        report = Loading(opened, home, both(listener, progress)).run()
        if alias is not None:
            former = _checked(home).point_alias(alias)
            if former:
                notice(f"{alias} meant {former} before, which is still there; delete it when nobody needs it")
    return report


def _checked(home: Home) -> CollectionHome:
    from vecloom.pipeline.collection import CollectionHome

    if not isinstance(home, CollectionHome):
        raise UsageError(f"{home.name} is no collection of a server, and has no alias")
    return home


def export(
    place: Place,
    form: FormatName,
    out: str | os.PathLike[str],
    *,
    collection: str | None = None,
    using: Sequence[str] = (),
    config: Config | None = None,
    notice: Notice = unheard,
    listener: Listener = quiet,
) -> int:
    """Write the points of a pack or an index to files; returns how many.

    ``form``: ``jsonl`` (a REST PointStruct a line), ``parquet`` (the columns of a pack) or ``numpy`` (a
    folder of .npy files). ``using``: vector names or models (all).

    Raises:
        UsageError: an unknown format or vector, or a folder that is there.
        PackError: the pack is damaged.
        IndexFormatError: there is neither pack nor index.
    """
    from vecloom.pipeline import exporting

    config = config or load_config()
    check_path("place", place)
    check_path("out", out)
    check_text("form", form)
    using = check_texts("using", using)
    if not is_url(place) and ((folder_of(place) / MANIFEST).exists() or folder_of(place).is_file()):
        pack = Pack.open(folder_of(place))
        fields, total, name = pack.manifest.fields, pack.manifest.points, str(place)
        chosen = _chosen(fields, using, config)
        points = exporting.points_of_pack(pack, [field.name for field in chosen])
    else:
        home = home_of(place, collection, config, notice)
        fields = home.load().schema(config.registry()).vectors
        with home.access.open("export") as store:
            total, name = store.count(exact=False), home.name
        chosen = _chosen(fields, using, config)
        points = exporting.points_of_index(home, chosen)

    def tell(done: int) -> None:
        listener(Progress("export", done, total, "chunks", name))

    return exporting.export_to(form, points, Path(out), chosen, tell)


def _chosen(fields: Sequence[VectorField], using: Sequence[str], config: Config) -> list[VectorField]:
    known = {field.name for field in fields}
    wanted = [name if name in known else config.registry().find(name).vector_name for name in using]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"there is no vector {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return [field for field in fields if not wanted or field.name in wanted]
