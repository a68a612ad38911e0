"""Anything that qdrant-client reaches: a server, a cluster, or its own ``:memory:`` mode.

Importing this module loads qdrant-client (some 750 ms): import it where a collection is opened.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from qdrant_client import QdrantClient, models

from vecloom.errors import StoreError
from vecloom.stores import INDEXED_KEYS, client_terms, connection, empty
from vecloom.stores.client_terms import Rules
from vecloom.stores.connection import NoCollectionError, TooLargeError, asked
from vecloom.stores.shared import PAGE, grown, missing_point, pages
from vecloom.stores.validate import check_ids, check_payloads, checked_leg, checked_points, checked_vectors
from vecloom.types import Filter, Leg, Points, Record, Schema, Scored, SparseRows, VectorField, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

#: Seconds between two looks at whether a server has built its graphs.
_LOOK = 0.5

#: Kilobytes from which on a server builds a graph, where it does not say.
_THRESHOLD = 20_000

#: Values of a payload key that are asked for first: few keys have more.
_FACET_VALUES = 1000

#: Key of a collection's metadata that holds what a bulk load must restore.
_BULK = "vecloom_bulk"


class ClientStore:
    """A collection behind qdrant-client (see `vecloom.stores.Store`).

    The client is the caller's: closing the store leaves it open. A large write goes in several requests, each
    of which is applied as a whole. What fails for the moment (a server that restarts, is busy, or closes the
    connection) is sent again: every write may be done twice. Requests keep to the collection's strict mode.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        schema: Schema,
        patience: float | None = None,
        rules: Rules | None = None,
    ) -> None:
        """Use a collection that is there; `create` makes one, `open` finds its schema.

        ``patience``: seconds for which what fails for the moment is sent again (`connection.PATIENCE`).
        ``rules``: what requests must keep to, where that is known; else the collection is asked.
        """
        self.schema = schema
        self.collection = collection
        self._client: QdrantClient | None = client
        self._patience = connection.PATIENCE if patience is None else patience
        self._known_rules = rules

    @classmethod
    def create(
        cls,
        client: QdrantClient,
        collection: str,
        schema: Schema,
        metadata: Mapping[str, Any] | None = None,
    ) -> ClientStore:
        """Make an empty collection with its payload indexes; ``metadata`` goes along.

        Raises:
            StoreError: there is one of that name, or the server refuses.
        """
        store = cls(client, collection, schema)
        made = client_terms.settings_of(schema)
        given = json.loads(json.dumps(metadata)) if metadata else None  # as it comes back
        try:
            store._call(client.create_collection, metadata=given, **made)
        except StoreError:
            # The answer to a first try may have been lost.
            if given is None or store.metadata() != given:
                raise
        store.make_ready()
        return store

    @classmethod
    def open(cls, client: QdrantClient, collection: str, patience: float | None = None) -> ClientStore | None:
        """The collection with the schema that it has; None where there is none of that name.

        Raises:
            StoreError: the server does not answer, or the collection has no named vectors compared by cosine.
        """
        store = cls(client, collection, Schema(()), patience)
        info = store.info()
        if info is None:
            return None
        store.schema = client_terms.schema_of(collection, info.config)
        return store

    def make_ready(self) -> None:
        """Make the payload indexes that are missing: whoever made the collection may have been killed."""
        self._index_keys(INDEXED_KEYS)

    def index_key(self, key: str) -> None:
        """Index a payload key; see `vecloom.stores.Store`."""
        self._index_keys((key,))

    def _index_keys(self, keys: Sequence[str]) -> None:
        client, info = self._opened(), self.info()
        if info is None or not _is_remote(client):  # local mode has none
            return
        for key in keys:
            if key not in (info.payload_schema or {}):
                self._call(
                    client.create_payload_index, field_name=key, field_schema=models.PayloadSchemaType.KEYWORD
                )
        self._known_rules = None

    def info(self) -> models.CollectionInfo | None:
        """What the server tells of the collection; None where there is none of that name."""
        try:
            info = self._call(self._opened().get_collection)
        except NoCollectionError:
            return None
        self._known_rules = client_terms.rules_of(info, is_remote=_is_remote(self._opened()))
        return info

    @property
    def rules(self) -> Rules:
        """What requests must keep to."""
        if self._known_rules is None:
            self.info()
        return self._known_rules or Rules()

    def metadata(self) -> Mapping[str, Any] | None:
        """What was written into the collection's metadata; None where there is no collection."""
        info = self.info()
        return None if info is None else info.config.metadata or {}

    def set_metadata(self, **values: Any) -> None:
        """Set keys of the collection's metadata; the others stay."""
        self._call(self._opened().update_collection, metadata=values)

    def is_collection(self, name: str) -> bool:
        """Whether the server has a collection, and no alias, of this name."""
        return name in {one.name for one in self._ask(self._opened().get_collections).collections}

    def point_alias(self, alias: str) -> str | None:
        """Let ``alias`` mean this collection, in one step; returns what it meant before.

        Raises:
            StoreError: a collection has that name.
        """
        client = self._opened()
        known = {one.alias_name: one.collection_name for one in self._ask(client.get_aliases).aliases}
        former = known.get(alias)
        if former == self.collection:
            return None
        steps: list[Any] = []
        if former is not None:
            steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        made = models.CreateAlias(collection_name=self.collection, alias_name=alias)
        steps.append(models.CreateAliasOperation(create_alias=made))
        self._ask(client.update_collection_aliases, change_aliases_operations=steps)
        return former

    def begin_bulk(self) -> None:
        """Where there are no points yet: have no graphs built until `end_bulk`, of a later process too."""
        info = self._call(self._opened().get_collection)
        if info.points_count:
            return
        if not (info.config.metadata or {}).get(_BULK):
            threshold = info.config.optimizer_config.indexing_threshold or _THRESHOLD
            self.set_metadata(**{_BULK: {"indexing_threshold": threshold}})
        self._set_threshold(0)

    def end_bulk(self, tell: Callable[[], None]) -> None:
        """Have graphs built as before, and wait for them; ``tell`` is called now and then.

        Raises:
            StoreError: the server says that it cannot build them.
        """
        former = (self.metadata() or {}).get(_BULK)
        if former is None:
            return
        self._set_threshold(former["indexing_threshold"])
        while (found := self._call(self._opened().get_collection)).status != models.CollectionStatus.GREEN:
            if found.status == models.CollectionStatus.RED:
                raise StoreError(f"{self.collection}: the optimizer failed: {found.optimizer_status}")
            if found.status == models.CollectionStatus.GREY:  # restarted: it waits for an update
                self._set_threshold(former["indexing_threshold"])
            tell()
            time.sleep(_LOOK)
        self.set_metadata(**{_BULK: None})

    def _set_threshold(self, kilobytes: int | None) -> None:
        changed = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        self._call(self._opened().update_collection, optimizers_config=changed)

    def add_vector(self, field: VectorField) -> None:
        """Add a named vector; see `vecloom.stores.Store`."""
        schema = grown(self.collection, self.schema, field)
        if schema is None:
            return
        made = client_terms.added(field)
        self._call(self._opened().create_vector_name, vector_name=field.name, vector_name_config=made)
        self.schema = schema

    def upsert(self, points: Points) -> None:
        """Write whole points; see `vecloom.stores.Store`."""
        points, _ = checked_points(self.schema, points)
        names = empty.empty_names(points.vectors)

        def built(chosen: range) -> list[models.PointStruct]:
            return [
                models.PointStruct(
                    id=points.ids[i],
                    payload=empty.mark_payload(points.payloads[i], names.get(i, ())),
                    vector=vector,
                )
                for i, vector in client_terms.rows(points.vectors, chosen)
            ]

        def post(batch: list[models.PointStruct]) -> None:
            self._call(self._opened().upsert, points=batch, wait=True)

        self._send(client_terms.json_sizes(len(points), points.vectors, points.payloads), built, post)

    def update_vectors(self, ids: Sequence[str], vectors: Mapping[str, Vectors]) -> None:
        """Set named vectors of existing points; see `vecloom.stores.Store`."""
        checked = checked_vectors(self.schema, ids, vectors)
        if not checked:
            return
        former = self._require(ids, marks=any(isinstance(column, SparseRows) for column in checked.values()))

        def built(chosen: range) -> list[models.PointVectors]:
            rows = client_terms.rows(checked, chosen)
            return [models.PointVectors(id=ids[i], vector=vector) for i, vector in rows if vector]

        def post(batch: list[models.PointVectors]) -> None:
            if batch:
                self._call(self._opened().update_vectors, points=batch, wait=True)

        self._send(client_terms.json_sizes(len(ids), checked), built, post)
        for names, points in empty.group_points(ids, empty.empty_names(checked)).items():
            self._call(self._opened().delete_vectors, vectors=list(names), points=points, wait=True)
        for names, points in empty.change_marks(ids, checked, former).items():
            marked = {empty.KEY: list(names)}
            self._call(self._opened().set_payload, payload=marked, points=points, wait=True)

    def update_payloads(self, ids: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> None:
        """Merge payload keys of existing points; see `vecloom.stores.Store`."""
        check_ids(ids)
        check_payloads(ids, payloads)
        self._require(ids)

        def built(chosen: range) -> list[models.SetPayloadOperation]:
            given = [models.SetPayload(payload=dict(payloads[i]), points=[ids[i]]) for i in chosen]
            return [models.SetPayloadOperation(set_payload=one) for one in given]

        def post(batch: list[models.SetPayloadOperation]) -> None:
            self._call(self._opened().batch_update_points, update_operations=batch, wait=True)

        self._send(client_terms.json_sizes(len(ids), {}, payloads), built, post)

    def _send(
        self, sizes: NDArray[np.int64], built: Callable[[range], list[T]], post: Callable[[list[T]], None]
    ) -> None:
        """Send points of these sizes in requests, each built while the one before it is under way."""
        sender = ThreadPoolExecutor(1, "vecloom-send")
        try:
            sent: Future[None] | None = None
            for chosen in client_terms.requests(sizes):
                batch = built(chosen)
                if sent is not None:
                    sent.result()
                sent = sender.submit(self._post, chosen, batch, built, post)
            if sent is not None:
                sent.result()
        finally:
            sender.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for a server

    def _post(
        self,
        chosen: range,
        batch: list[T],
        built: Callable[[range], list[T]],
        post: Callable[[list[T]], None],
    ) -> None:
        """Send a request, in halves where the server takes none of this size."""
        try:
            post(batch)
        except TooLargeError:
            if len(chosen) == 1:
                raise
            middle = (chosen.start + chosen.stop) // 2
            for half in (range(chosen.start, middle), range(middle, chosen.stop)):
                self._post(half, built(half), built, post)

    def mark(self, where: Filter, key: str, value: str | None) -> None:
        """Set or remove a payload key of points; see `vecloom.stores.Store`."""
        chosen = self._condition(where)
        if value is None:
            self._call(self._opened().delete_payload, keys=[key], points=chosen, wait=True)
        else:
            self._call(self._opened().set_payload, payload={key: value}, points=chosen, wait=True)

    def delete(self, ids: Sequence[str] | None = None, where: Filter | None = None) -> None:
        """Delete by id or by filter; see `vecloom.stores.Store`."""
        if (ids is None) == (where is None):
            raise StoreError("delete takes ids or a filter: exactly one of them")
        if ids is None:
            selector: Any = self._condition(where) or models.Filter()
        else:
            check_ids(ids)
            selector = list(ids)
        if ids is None or ids:
            self._call(self._opened().delete, points_selector=selector, wait=True)

    def search(
        self, legs: Sequence[Leg], where: Filter | None, limit: int, fields: Sequence[str]
    ) -> list[list[Scored]]:
        """One ranked list a leg; see `vecloom.stores.Store`."""
        if not legs:
            return []
        wanted = self._condition(where)
        requests = [
            models.QueryRequest(
                query=client_terms.query_vector(checked_leg(self.schema, leg)),
                using=leg.name,
                filter=wanted,
                limit=self.rules.limit(limit),
                with_payload=client_terms.selected(fields),
                params=client_terms.parameters(self.schema),
            )
            for leg in legs
        ]
        return [
            client_terms.scored(found.points)
            for found in self._call(self._opened().query_batch_points, requests=requests)
        ]

    def get(
        self, ids: Sequence[str], fields: Sequence[str] | None = None, vectors: Sequence[str] = ()
    ) -> list[Record]:
        """Points by id; see `vecloom.stores.Store`."""
        check_ids(ids)
        found: list[models.Record] = []
        read = client_terms.selected(empty.fields_to_read(self.schema, fields, vectors))
        step = client_terms.REQUEST_POINTS if vectors else client_terms.ASKED_POINTS
        for start in range(0, len(ids), step):
            found += self._call(
                self._opened().retrieve,
                ids=list(ids[start : start + step]),
                with_payload=read,
                with_vectors=list(vectors) or False,
            )
        records = {one.id: empty.restore_record(one, vectors) for one in map(client_terms.record, found)}
        return [records[point] for point in ids if point in records]

    def scroll(
        self,
        where: Filter | None = None,
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Points in the order of their ids; see `vecloom.stores.Store`."""
        read = client_terms.selected(empty.fields_to_read(self.schema, fields, vectors))

        def fetch(offset: Any, size: int) -> tuple[list[Record], Any]:
            found, following = self._call(
                self._opened().scroll,
                scroll_filter=self._condition(where),
                limit=size,
                offset=offset,
                with_payload=read,
                with_vectors=list(vectors) or False,
            )
            return [empty.restore_record(client_terms.record(one), vectors) for one in found], following

        return pages(fetch, after, limit, lambda: self.rules.limit(PAGE))

    def count(self, where: Filter | None = None, exact: bool = True) -> int:
        """How many points; see `vecloom.stores.Store`. All are read where the server gives no exact count."""
        if exact and not self.rules.exact:
            return sum(1 for _ in self.scroll(where, ()))
        return self._call(self._opened().count, count_filter=self._condition(where), exact=exact).count

    def facet(self, key: str, where: Filter | None = None) -> dict[str, int]:
        """Points by value of an indexed key; see `vecloom.stores.Store`."""
        limit = _FACET_VALUES
        while True:
            limit = self.rules.limit(limit)
            found = self._call(
                self._opened().facet,
                key=key,
                facet_filter=self._condition(where),
                limit=limit,
                exact=self.rules.exact,
            )
            if len(found.hits) < limit:
                return {str(hit.value): hit.count for hit in found.hits if hit.count}
            if limit == self.rules.max_limit:
                break
            limit *= 10
        values = (record.payload.get(key) for record in self.scroll(where, (key,)))
        return dict(Counter(str(value) for value in values if value is not None))

    def _condition(self, where: Filter | None) -> models.Filter | None:
        return None if where is None else client_terms.condition(self.schema, where, self.rules.marked)

    def finalize(self) -> None:
        """Nothing to do: the server answers a write once its log holds it."""
        self._opened()

    def close(self) -> None:
        """Let go of the client, which stays open."""
        self._client = None

    def _opened(self) -> QdrantClient:
        if self._client is None:
            raise StoreError(f"{self.collection} is closed; open it again")
        return self._client

    def _call(self, function: Callable[..., T], **arguments: Any) -> T:
        return self._ask(function, collection_name=self.collection, **arguments)

    def _ask(self, function: Callable[..., T], **arguments: Any) -> T:
        return asked(self._opened(), self.collection, function, self._patience, **arguments)

    def _require(self, ids: Sequence[str], marks: bool = False) -> dict[str, list[str]]:
        """Refuse ids that are not there.

        Returns the names of the points' empty vectors, where ``marks`` are asked for.
        """
        found: list[models.Record] = []
        for start in range(0, len(ids), client_terms.ASKED_POINTS):
            found += self._call(
                self._opened().retrieve,
                ids=list(ids[start : start + client_terms.ASKED_POINTS]),
                with_payload=[empty.KEY] if marks else False,
                with_vectors=False,
            )
        refusal = missing_point(self.collection, ids, {str(one.id) for one in found})
        if refusal is not None:
            raise refusal
        return {str(one.id): (one.payload or {}).get(empty.KEY, []) for one in found}


def _is_remote(client: QdrantClient) -> bool:
    return bool(connection.address_of(client))
