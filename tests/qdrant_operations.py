"""The operations of a Qdrant server over the ``:memory:`` mode of qdrant-client, which searches exactly.

What that mode ignores is kept here: a collection's settings, its payload indexes, its strict mode. Statuses
and messages are those of Qdrant's source at 1.19.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from threading import Lock
from typing import Annotated, Any, Literal, TypeAlias, TypeVar
from urllib.parse import unquote

from pydantic import Field, TypeAdapter
from qdrant_client import models
from qdrant_client.http.models import models as requests
from qdrant_client.local.qdrant_local import QdrantLocal

#: A collection's settings that an answer has one level further down.
_PARAMS = {
    *("vectors", "sparse_vectors", "shard_number", "sharding_method", "replication_factor"),
    *("write_consistency_factor", "on_disk_payload", "payload", "id_tracker"),
}

#: Points, or a column for each of their parts: the first form that fits.
_UPSERT = Annotated[requests.PointsList | requests.PointsBatch, Field(union_mode="left_to_right")]


class RefusedError(Exception):
    """An operation that a server refuses: a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """What a request says to an operation: the names in its path, its body, and the answer of an update."""

    names: Mapping[str, str]
    body: Any
    done: Mapping[str, Any]

    @property
    def collection(self) -> str:
        return self.names["collection"]


Operation = Callable[["Qdrant", Call], Any]
Registered = TypeVar("Registered", bound=Operation)

#: What an operation asks of a token: to read or write one collection, to read or manage the whole server.
Needs: TypeAlias = Literal["read", "write", "read all", "manage"]

#: What a token may do, as its JWT says: all of the server (``r``, ``m``), or collections (``r``, ``rw``).
TokenAccess: TypeAlias = str | Sequence[Mapping[str, str]]

#: Method, path, type of the body, what a token needs, and what does it.
ROUTES: list[tuple[str, re.Pattern[str], Any, Needs, Operation]] = []


def route(
    method: str, path: str, body: Any = None, *, needs: Needs = "read"
) -> Callable[[Registered], Registered]:
    """Register an operation of the REST API."""
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))

    def register(operation: Registered) -> Registered:
        ROUTES.append((method, pattern, body, needs, operation))
        return operation

    return register


def _route(method: str, path: str) -> tuple[dict[str, str], Any, Needs, Operation]:
    """The names in a path, the type of the body, what a token needs, and the operation."""
    for wanted, pattern, kind, needs, operation in ROUTES:
        if wanted == method and (found := pattern.fullmatch(path)):
            return {key: unquote(value) for key, value in found.groupdict().items()}, kind, needs, operation
    raise RefusedError(404, f"the stand-in has no {method} {path}")


def _check_access(access: TokenAccess, needs: Needs, collection: str | None) -> None:
    if isinstance(access, str):
        if access == "r" and needs in ("write", "manage"):
            raise RefusedError(403, "Forbidden: Global manage access is required")
        return
    if needs in ("read all", "manage"):
        raise RefusedError(403, "Forbidden: Global access is required")
    modes = [one["access"] for one in access if one["collection"] == collection]
    if not modes:
        raise RefusedError(403, f"Forbidden: Access to collection {collection} is required")
    if needs == "write" and modes[0] != "rw":
        raise RefusedError(403, f"Forbidden: Write access to collection {collection} is required")


@cache
def _parser(body: Any) -> TypeAdapter[Any]:
    return TypeAdapter(body)


class Qdrant:
    """Collections in memory: the operations of a server, one at a time."""

    def __init__(self, strict: Mapping[str, Any] | None = None) -> None:
        """``strict``: the strict mode of collections that are made without one."""
        self._memory = QdrantLocal(":memory:")
        self._strict = strict
        #: By collection: its config as far as it was given, and its indexed keys.
        self._config: dict[str, dict[str, Any]] = {}
        self._indexes: dict[str, dict[str, Any]] = {}
        self._updates = count(1)
        self._lock = Lock()

    def call(self, method: str, path: str, wait: bool, body: bytes, access: TokenAccess = "m") -> Any:
        """The result of an operation.

        Raises:
            RefusedError: there is no such operation or collection, its input is wrong, or it is not allowed.
        """
        names, kind, needs, operation = _route(method, path)
        _check_access(access, needs, names.get("collection"))
        with _refusals("Format error in JSON body: "):
            parsed = None if kind is None else _parser(kind).validate_json(body)
        _check_vectors(parsed)
        with self._lock, _refusals("Wrong input: "):
            if "collection" in names and operation not in (Qdrant.create, Qdrant.remove, Qdrant.exists):
                self._require(names["collection"])
                self._check_strictly(self._real(names["collection"]), parsed)
            status = "completed" if wait else "acknowledged"
            done = {"operation_id": next(self._updates), "status": status}
            return operation(self, Call(names, parsed, done))

    def version(self) -> Any:
        return self._memory.info()

    def _require(self, collection: str) -> None:
        if not self._memory.collection_exists(collection):
            raise RefusedError(404, f"Not found: Collection `{collection}` doesn't exist!")

    def _real(self, collection: str) -> str:
        """The collection that a name or an alias means."""
        aliases = {one.alias_name: one.collection_name for one in self._memory.get_aliases().aliases}
        return aliases.get(collection, collection)

    def _check_strictly(self, collection: str, body: Any) -> None:
        """Refuse what the strict mode of a collection forbids."""
        strict = self._config[collection].get("strict_mode_config") or {}
        if not strict.get("enabled"):
            return
        if isinstance(body, requests.QueryRequestBatch):
            for search in body.searches:
                self._check_strictly(collection, search)
            return
        if isinstance(body, requests.UpdateOperations):
            for operation in body.operations:
                self._check_strictly(collection, next(iter(vars(operation).values())))
            return
        exact = getattr(body, "exact", None) or getattr(getattr(body, "params", None), "exact", None)
        if exact and strict.get("search_allow_exact") is False:
            raise RefusedError(400, "Bad request: Exact search disabled!. Help: Set exact=false.")
        most = strict.get("max_query_limit")
        if most is not None and isinstance(body, _LIMITED) and (limit := body.limit or 10) > most:
            raise RefusedError(
                400,
                f'Bad request: Limit exceeded {limit} > {most} for "limit". '
                f'Help: Reduce the "limit" parameter to or below {most}.',
            )
        reads = isinstance(body, (*_LIMITED, requests.CountRequest))
        if strict.get(f"unindexed_filtering_{'retrieve' if reads else 'update'}") is not False:
            return
        for key in _keys(getattr(body, "filter", None)):
            if key not in self._indexes[collection]:
                raise RefusedError(
                    400,
                    f'Bad request: Index required but not found for "{key}" of one of the following types: '
                    f"[keyword]. Help: Create an index for this key or use a different filter.",
                )

    # Collections.

    @route("GET", "/collections", needs="read all")
    def collections(self, call: Call) -> Any:
        return self._memory.get_collections()

    @route("PUT", "/collections/{collection}", models.CreateCollection, needs="manage")
    def create(self, call: Call) -> bool:
        if self._memory.collection_exists(call.collection):
            raise RefusedError(409, f"Wrong input: Collection `{call.collection}` already exists!")
        self._memory.create_collection(
            call.collection, call.body.vectors, call.body.sparse_vectors, metadata=call.body.metadata
        )
        strict = {} if self._strict is None else {"strict_mode_config": dict(self._strict)}
        self._config[call.collection] = strict | _config(call.body)
        self._indexes[call.collection] = {}
        return True

    @route("PATCH", "/collections/{collection}", requests.UpdateCollection, needs="manage")
    def update(self, call: Call) -> bool:
        body, config = call.body, self._config[self._real(call.collection)]
        self._memory.update_collection(call.collection, body.sparse_vectors, body.metadata, body.vectors)
        given = _config(body)
        if "size" in config["params"].get("vectors", {}):  # the unnamed vector, which a change calls ""
            given["params"]["vectors"] = given["params"].get("vectors", {}).get("", {})
        config.update(_merged(config, given))
        return True

    @route("DELETE", "/collections/{collection}", needs="manage")
    def remove(self, call: Call) -> bool:
        return self._memory.delete_collection(call.collection)

    @route("GET", "/collections/{collection}/exists")
    def exists(self, call: Call) -> Any:
        return {"exists": self._memory.collection_exists(call.collection)}

    @route("GET", "/collections/{collection}")
    def information(self, call: Call) -> Any:
        name = self._real(call.collection)
        found = self._memory.get_collection(name).model_dump(mode="json", exclude_none=True)
        # A server keeps these counts; to take them here would cost more than what is measured with it.
        points = {"points": found["points_count"]}
        schema = {key: index | points for key, index in self._indexes[name].items()}
        return found | {"config": _merged(found["config"], self._config[name]), "payload_schema": schema}

    @route("PUT", "/collections/{collection}/vectors/{vector}", models.VectorNameConfig, needs="manage")
    def create_vector(self, call: Call) -> Any:
        self._memory.create_vector_name(call.collection, call.names["vector"], call.body)
        [(kind, made)] = call.body.model_dump(mode="json", exclude_none=True).items()
        given = {"vectors" if kind == "dense" else "sparse_vectors": {call.names["vector"]: made}}
        config = self._config[self._real(call.collection)]
        config["params"] = _merged(given, config["params"])
        return call.done

    @route("DELETE", "/collections/{collection}/vectors/{vector}", needs="manage")
    def delete_vector(self, call: Call) -> Any:
        self._memory.delete_vector_name(call.collection, call.names["vector"])
        params = self._config[self._real(call.collection)]["params"]
        for kind in ("vectors", "sparse_vectors"):
            params.get(kind, {}).pop(call.names["vector"], None)
        return call.done

    @route("PUT", "/collections/{collection}/index", requests.CreateFieldIndex, needs="write")
    def create_index(self, call: Call) -> Any:
        self._memory.create_payload_index(call.collection, call.body.field_name, call.body.field_schema)
        schema = call.body.model_dump(mode="json", exclude_none=True)["field_schema"]
        plain = isinstance(schema, str)
        index = {"data_type": schema} if plain else {"data_type": schema["type"], "params": schema}
        self._indexes[self._real(call.collection)][call.body.field_name] = index
        return call.done

    @route("DELETE", "/collections/{collection}/index/{field}", needs="write")
    def delete_index(self, call: Call) -> Any:
        self._memory.delete_payload_index(call.collection, call.names["field"])
        self._indexes[self._real(call.collection)].pop(call.names["field"], None)
        return call.done

    @route("POST", "/collections/aliases", requests.ChangeAliasesOperation, needs="manage")
    def change_aliases(self, call: Call) -> bool:
        for action in call.body.actions:
            if isinstance(action, models.CreateAliasOperation):
                self._require(action.create_alias.collection_name)
        return self._memory.update_collection_aliases(call.body.actions)

    @route("GET", "/aliases", needs="read all")
    def aliases(self, call: Call) -> Any:
        return self._memory.get_aliases()

    @route("GET", "/collections/{collection}/aliases")
    def collection_aliases(self, call: Call) -> Any:
        return self._memory.get_collection_aliases(call.collection)

    # Updates of points.

    @route("PUT", "/collections/{collection}/points", _UPSERT, needs="write")
    def upsert(self, call: Call) -> Any:
        body = call.body
        points = body.points if isinstance(body, requests.PointsList) else body.batch
        self._memory.upsert(call.collection, points, body.update_filter, body.update_mode)
        return call.done

    @route("POST", "/collections/{collection}/points/delete", requests.PointsSelector, needs="write")
    def delete(self, call: Call) -> Any:
        self._memory.delete(call.collection, call.body)
        return call.done

    @route("PUT", "/collections/{collection}/points/vectors", requests.UpdateVectors, needs="write")
    def update_vectors(self, call: Call) -> Any:
        self._memory.update_vectors(call.collection, call.body.points, call.body.update_filter)
        return call.done

    @route("POST", "/collections/{collection}/points/vectors/delete", requests.DeleteVectors, needs="write")
    def delete_vectors(self, call: Call) -> Any:
        self._memory.delete_vectors(call.collection, call.body.vector, _chosen(call.body))
        return call.done

    @route("POST", "/collections/{collection}/points/payload", requests.SetPayload, needs="write")
    def set_payload(self, call: Call) -> Any:
        body = call.body
        self._memory.set_payload(call.collection, body.payload, _chosen(body), body.key)
        return call.done

    @route("PUT", "/collections/{collection}/points/payload", requests.SetPayload, needs="write")
    def overwrite_payload(self, call: Call) -> Any:
        self._memory.overwrite_payload(call.collection, call.body.payload, _chosen(call.body))
        return call.done

    @route("POST", "/collections/{collection}/points/payload/delete", requests.DeletePayload, needs="write")
    def delete_payload(self, call: Call) -> Any:
        self._memory.delete_payload(call.collection, call.body.keys, _chosen(call.body))
        return call.done

    @route("POST", "/collections/{collection}/points/payload/clear", requests.PointsSelector, needs="write")
    def clear_payload(self, call: Call) -> Any:
        self._memory.clear_payload(call.collection, call.body)
        return call.done

    @route("POST", "/collections/{collection}/points/batch", requests.UpdateOperations, needs="write")
    def batch(self, call: Call) -> Any:
        self._memory.batch_update_points(call.collection, call.body.operations)
        return [call.done] * len(call.body.operations)

    # Reads.

    @route("POST", "/collections/{collection}/points", requests.PointRequest)
    def retrieve(self, call: Call) -> Any:
        body = call.body
        return self._memory.retrieve(call.collection, body.ids, _payload(body), body.with_vector)

    @route("GET", "/collections/{collection}/points/{id}")
    def point(self, call: Call) -> Any:
        said = call.names["id"]
        wanted: int | str = int(said) if said.isdigit() else said
        found = self._memory.retrieve(call.collection, [wanted], with_vectors=True)
        if not found:
            raise RefusedError(404, f"Not found: Point with id {said} does not exists!")
        return found[0]

    @route("POST", "/collections/{collection}/points/scroll", requests.ScrollRequest)
    def scroll(self, call: Call) -> Any:
        body = call.body
        found, following = self._memory.scroll(
            call.collection,
            body.filter,
            10 if body.limit is None else body.limit,
            body.order_by,
            body.offset,
            _payload(body),
            body.with_vector,
        )
        return {"points": found, "next_page_offset": following}

    @route("POST", "/collections/{collection}/points/count", requests.CountRequest)
    def counted(self, call: Call) -> Any:
        return self._memory.count(call.collection, call.body.filter)

    @route("POST", "/collections/{collection}/points/query", models.QueryRequest)
    def query(self, call: Call) -> Any:
        return self._memory.query_batch_points(call.collection, [call.body])[0]

    @route("POST", "/collections/{collection}/points/query/batch", requests.QueryRequestBatch)
    def query_batch(self, call: Call) -> Any:
        return self._memory.query_batch_points(call.collection, call.body.searches)

    @route("POST", "/collections/{collection}/points/query/groups", requests.QueryGroupsRequest)
    def query_groups(self, call: Call) -> Any:
        body = call.body
        return self._memory.query_points_groups(
            call.collection,
            group_by=body.group_by,
            query=body.query,
            using=body.using,
            prefetch=body.prefetch,
            query_filter=body.filter,
            search_params=body.params,
            limit=10 if body.limit is None else body.limit,
            group_size=3 if body.group_size is None else body.group_size,
            with_payload=body.with_payload,
            with_vectors=body.with_vector,
            score_threshold=body.score_threshold,
            with_lookup=body.with_lookup,
            lookup_from=body.lookup_from,
        )

    @route("POST", "/collections/{collection}/facet", requests.FacetRequest)
    def facet(self, call: Call) -> Any:
        body = call.body
        if body.key not in self._indexes[self._real(call.collection)]:
            raise RefusedError(400, f"Wrong input: No appropriate index for faceting: `{body.key}`.")
        limit = 10 if body.limit is None else body.limit
        return self._memory.facet(call.collection, body.key, body.filter, limit)


#: Requests whose answers have a limit; 10 where they name none.
_LIMITED = (
    requests.ScrollRequest,
    requests.FacetRequest,
    requests.QueryGroupsRequest,
    models.QueryRequest,
)


def _keys(where: models.Filter | None) -> Iterator[str]:
    """The payload keys of a filter."""
    for name in ("must", "should", "must_not") if where is not None else ():
        given = getattr(where, name) or []
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, models.Filter):
                yield from _keys(one)
            elif isinstance(one, models.FieldCondition):
                yield one.key


def _check_vectors(body: Any) -> None:
    """Refuse an update of a point without a vector, and sparse vectors that are none."""
    if isinstance(body, requests.UpdateOperations):
        for operation in body.operations:
            _check_vectors(next(iter(vars(operation).values())))
    if not isinstance(body, requests.PointsList | requests.UpdateVectors):
        return
    points: list[Any] = list(body.points)
    for i, point in enumerate(points):
        named: list[Any] = list(point.vector.values()) if isinstance(point.vector, dict) else [point.vector]
        sparse = [vector for vector in named if isinstance(vector, models.SparseVector)]
        filled = [vector for vector in named if (vector.indices if vector in sparse else vector)]
        what = ""
        if isinstance(body, requests.UpdateVectors) and not filled:
            what = "must specify vectors to update for point"
        for vector in sparse:
            if len(vector.indices) != len(vector.values):
                what = "must be the same length as indices"
            elif len({*vector.indices}) < len(vector.indices):
                what = "must be unique"
        if what:
            raise RefusedError(422, f"Validation error in JSON body: [points[{i}].vector: {what}]")


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """The memory client's errors as a server's."""
    try:
        yield
    except ValueError as error:  # pydantic's are such, too
        raise RefusedError(400, what + str(error).removeprefix(what)) from error
    except KeyError as error:  # of an update that names a point that is not there
        raise RefusedError(404, f"Not found: No point with id {error.args[0]} found") from error


def _config(body: models.CreateCollection | requests.UpdateCollection) -> dict[str, Any]:
    """The settings of a request in the form that the answer to a question for them has."""
    given = body.model_dump(mode="json", exclude_none=True, exclude={"metadata"})
    params = given.pop("params", {}) | {key: given.pop(key) for key in _PARAMS & given.keys()}
    if "optimizers_config" in given:
        given["optimizer_config"] = given.pop("optimizers_config")
    return {"params": params, **given}


def _merged(old: Any, new: Any, key: str = "") -> Any:
    """``new`` laid over ``old``; a quantisation takes the place of another."""
    if key == "quantization_config":
        return None if new == "Disabled" else new
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old.get(key), value, key) for key, value in new.items()}
    return new


def _chosen(body: Any) -> Any:
    return body.filter if body.points is None else body.points


def _payload(body: Any) -> Any:
    return True if body.with_payload is None else body.with_payload
