"""An index in a collection of a Qdrant server.

The collection's metadata hold the manifest, so that any machine can search it and go on with it. What is only
true of this machine (roots, file states, who writes) lies in a folder here, and can be had again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vecloom.config import Config
from vecloom.durable import read_json, written
from vecloom.errors import IndexFormatError, StoreError, UsageError
from vecloom.pipeline.home import Visits
from vecloom.pipeline.manifest import Manifest, is_sources, manifest_of, said_of
from vecloom.pipeline.report import IndexReport, Listener, Progress
from vecloom.pipeline.writer import writer_of, writing
from vecloom.stores import Store, connection
from vecloom.stores.client import ClientStore
from vecloom.stores.client_terms import Rules
from vecloom.stores.connection import address_of, connect, shown
from vecloom.types import Schema

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

#: Key of the collection's metadata.
_KEY = "vecloom"

_ROOTS = "roots.json"


class CollectionHome:
    """See `vecloom.pipeline.home.Home`."""

    def __init__(
        self,
        url: str,
        collection: str,
        config: Config,
        client: QdrantClient | None = None,
    ) -> None:
        """``client``: the one to use instead of a new one to ``url``; it stays the caller's.

        Raises:
            UsageError: the URL names no host, or a key would go over plain http.
        """
        self._client = client or connect(url, config.api_key, config.server_ca)
        self.collection = collection
        self.name = f"{address_of(self._client) or shown(url)}/collections/{collection}"
        self._registry = config.registry()
        self._schema: Schema | None = None
        self._rules: Rules | None = None
        self._places = config.data_dir / "collections"
        self._uid: str | None = None
        self._reached = False
        self.access = _Collection(self)

    @property
    def local(self) -> Path:
        """A folder of this machine for this very collection, however it is called; see `Home`."""
        uid = self._uid or self.load().uid
        return self._places / hashlib.sha256(uid.encode()).hexdigest()[:16]

    def store(self, schema: Schema, patience: float | None = None) -> ClientStore:
        """The collection as a store of this schema.

        ``patience``: see `ClientStore`; short until the server has answered once.
        """
        return ClientStore(self._client, self.collection, schema, self._patience(patience), self._rules)

    def _patience(self, asked: float | None) -> float | None:
        return asked if self._reached else connection.SHORT_PATIENCE

    def found(self) -> ClientStore | None:
        """The collection with the schema that it has, or None."""
        found = ClientStore.open(self._client, self.collection, self._patience(None))
        self._reached = True
        self._rules = None if found is None else found.rules
        return found

    def exists(self) -> bool:
        """Whether there is such a collection; see `Home`."""
        return self.found() is not None

    def require_vacant(self, manifest: Manifest) -> None:
        """Refuse a collection that is there; see `Home`."""
        if self.exists():
            raise UsageError(f"{self.name} is there already; name another --collection, or use that one")

    def create(self, manifest: Manifest, schema: Schema) -> None:
        """Make the collection; see `Home`."""
        self._uid = manifest.uid
        with self.writing("index"):
            self.require_vacant(manifest)
            said = {_KEY: said_of(_placeless(manifest))}
            store = ClientStore.create(self._client, self.collection, schema, said)
            if _KEY not in (store.metadata() or {}):
                raise StoreError(
                    f"{self.name}: the server keeps no metadata of collections; Qdrant 1.16 or newer does"
                )
            self._save_roots(manifest.sources)

    def load(self) -> Manifest:
        """The manifest, with this machine's roots; see `Home`."""
        store = self.store(Schema(()))
        said = store.metadata()
        self._reached = True
        self._rules = None if said is None else store.rules
        if said is None:
            raise IndexFormatError(f"there is no {self.name}; make it with vecloom index or load")
        if _KEY not in said:
            raise IndexFormatError(
                f"{self.name} was not made by vecloom; make another --collection with vecloom index or load"
            )
        manifest = manifest_of(said[_KEY], self.name, "make another --collection with vecloom index or load")
        self._uid = manifest.uid
        self._schema = manifest.schema(self._registry)
        roots = self._roots()
        return replace(manifest, sources={name: roots.get(name, "") for name in manifest.sources})

    def schema(self) -> Schema:
        """The schema as the manifest says that was read last."""
        if self._schema is None:
            self.load()
        return self._schema or Schema(())

    def save(self, manifest: Manifest) -> None:
        """Write the manifest into the metadata, and add vectors that it names; see `Home`."""
        schema = manifest.schema(self._registry)
        if schema != self._schema:
            found = self.found()
            if found is None:
                raise StoreError(f"{self.name} is gone; make it anew with vecloom index")
            for field in schema.vectors:
                found.add_vector(field)
            self._schema = schema
        self.store(schema).set_metadata(**{_KEY: said_of(_placeless(manifest))})
        self._save_roots(manifest.sources)

    def stamp(self) -> object:
        """Nothing: the metadata are read anew each time; see `Home`."""
        return None

    @contextmanager
    def writing(self, command: str) -> Iterator[Listener]:
        """Be the only writer of this machine; see `Home`."""
        self.local.mkdir(mode=0o700, parents=True, exist_ok=True)
        with writing(self.local, command) as listener:
            yield listener

    def writer(self) -> str:
        """Who of this machine writes; see `Home`."""
        return writer_of(self.local) if self.local.is_dir() else ""

    def visits(self, report: IndexReport, listener: Listener) -> Visits:
        """The collection for a run that writes; see `Home`."""
        return _Visits(self, report, listener)

    def tidy(self) -> None:
        """Make what a killed run left unmade; see `Home`."""
        self.store(self.schema()).make_ready()
        self._rules = None  # there may be an index more

    def size(self) -> int | None:
        """Not known; see `Home`."""
        return None

    def require_alias(self, alias: str) -> None:
        """Refuse an alias that is the name of a collection.

        Raises:
            UsageError: it is.
        """
        if self.store(Schema(())).is_collection(alias):
            raise UsageError(f"{alias} is a collection, and no alias; name another --alias")

    def point_alias(self, alias: str) -> str | None:
        """Let ``alias`` mean the collection; returns what it meant before."""
        return self.store(self.schema()).point_alias(alias)

    def _roots(self) -> Mapping[str, str]:
        path = self.local / _ROOTS
        try:
            roots = read_json(path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise IndexFormatError(
                f"{path} cannot be read ({error}); remove it, and name each tree once more: "
                f"vecloom index PATH --source NAME"
            ) from None
        if not is_sources(roots):
            raise IndexFormatError(
                f"{path} holds no names and roots; remove it, and name each tree once more: "
                f"vecloom index PATH --source NAME"
            )
        return dict(roots)

    def _save_roots(self, sources: Mapping[str, str]) -> None:
        with written(self.local / _ROOTS) as file:
            file.write(json.dumps(dict(sources)).encode())


class _Collection:
    """Opens the collection: any number of processes may have it at a time."""

    def __init__(self, home: CollectionHome) -> None:
        self._home = home

    @contextmanager
    def open(self, purpose: str) -> Iterator[Store]:
        """The collection with the schema of its manifest."""
        waited_for = purpose in ("search", "status")
        yield self._home.store(self._home.schema(), connection.SHORT_PATIENCE if waited_for else None)

    def close(self) -> None:
        """Nothing is held."""


class _Visits:
    """See `vecloom.pipeline.home.Visits`."""

    def __init__(self, home: CollectionHome, report: IndexReport, listener: Listener) -> None:
        self.access = home.access
        self._home = home
        self._report = report
        self._listener = listener

    def visit(self) -> AbstractContextManager[Store]:
        """The store: a server answers a write once its log holds it."""
        return self.access.open("index")

    def begin_bulk(self) -> None:
        """Have a collection that is empty yet build no graphs until `finish`."""
        self._home.store(self._home.schema()).begin_bulk()

    def finish(self) -> None:
        """Count the points, and wait for graphs that a bulk load (a killed one too) put off."""
        store = self._home.store(self._home.schema())
        self._report.points = store.count()
        store.end_bulk(
            lambda: self._listener(Progress("optimise", 0, None, "", f"{self._report.points:,} points"))
        )


def _placeless(manifest: Manifest) -> Manifest:
    """The manifest without roots, which stay on this machine."""
    return replace(manifest, sources=dict.fromkeys(manifest.sources, ""))
