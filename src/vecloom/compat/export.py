"""V4's files: what was encoded, written so that Qdrant and others can read it without vecloom.

Every file is written whole or not at all: beside its place under another name, and renamed at the end.
"""

from __future__ import annotations

import json
import logging
import pprint
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vecloom.compat.settings import KaggleExportConfig
from vecloom.durable import written
from vecloom.errors import MissingExtraError, StoreError
from vecloom.pipeline.points import chunk_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("vecloom.compat.v4")

#: Characters of a text that stand in a payload as its preview.
_PREVIEW = 500

#: The line of the upload script that the export fills in.
_SETTINGS_LINE = "SETTINGS: dict[str, Any] = "


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is exported, by chunk.

    ``texts``: what was encoded. ``dense``: by vector name, float32 [chunks, dim], the main one first.
    ``companions``: model key -> the vector name of a further dense model. ``sparse``: for each chunk what
    V4's attribute ``sparse_vectors`` holds. ``modifiers``: the names of sparse vectors -> "idf" or None; none
    where ``sparse`` holds V4's own. ``model``: what is told of the main model.
    """

    texts: Sequence[str]
    metadata: Sequence[Mapping[str, Any]]
    dense: Mapping[str, NDArray[np.float32]]
    companions: Mapping[str, str]
    sparse: Sequence[Mapping[str, Any] | None]
    modifiers: Mapping[str, str | None]
    model: Mapping[str, Any]

    @property
    def main(self) -> NDArray[np.float32]:
        """The main model's vectors."""
        return next(iter(self.dense.values()))

    @property
    def unnamed(self) -> bool:
        """Whether a point has one vector, without a name, as V4's points had."""
        return len(self.dense) == 1 and not self.modifiers

    def ids(self) -> list[str]:
        """UUIDv5 of the points: of collection, path, hash of the text, and n-th occurrence."""
        seen: Counter[tuple[str, ...]] = Counter()
        ids = []
        for metadata, text in zip(self.metadata, self.texts, strict=True):
            digest = sha256(text.encode("utf-8", "replace")).hexdigest()
            place = (str(metadata.get("collection_alias")), str(metadata.get("source_path")), digest)
            ids.append(chunk_id(*place, seen[place]))
            seen[place] += 1
        return ids

    def vector(self, row: int) -> list[float] | dict[str, Any]:
        """A point's ``vector``: the bare list where it is one, else by name; no empty sparse ones."""
        if self.unnamed:
            plain: list[float] = self.main[row].tolist()
            return plain
        vectors: dict[str, Any] = {name: matrix[row].tolist() for name, matrix in self.dense.items()}
        for name, entry in (self.sparse[row] or {}).items() if self.modifiers else ():
            if entry["indices"]:
                vectors[name] = {"indices": entry["indices"], "values": entry["values"]}
        return vectors


def write_files(
    encoded: Encoded, config: KaggleExportConfig, stats: Mapping[str, Any], collection: str
) -> dict[str, str]:
    """Write what ``config`` asks for; returns the path of each kind of file.

    Raises:
        StoreError: a file cannot be written.
        StoreFullError: there is no room for it.
    """
    ids = encoded.ids()
    paths: dict[str, str] = {}
    if config.export_numpy:
        paths |= _write_numpy(encoded, config)
    if config.export_jsonl:
        paths["jsonl"] = write_points(encoded, config, ids)
    if config.export_sparse_jsonl and any(encoded.sparse):
        paths["sparse_jsonl"] = _write_sparse(encoded, config, ids)
    if config.export_faiss and (path := _write_faiss(encoded, config)):
        paths["faiss"] = path
    if config.include_full_metadata:
        paths["metadata"] = _write_json(config.get_output_path("_metadata.json"), list(encoded.metadata))
    paths["texts"] = _write_json(config.get_output_path("_texts.json"), list(encoded.texts))
    if config.include_processing_stats:
        paths["stats"] = _write_json(config.get_output_path("_stats.json"), stats)
    if "jsonl" in paths:
        paths["upload_script"] = _write_script(encoded, config, collection, paths["jsonl"])
    return paths


def write_points(
    encoded: Encoded, config: KaggleExportConfig, ids: Sequence[str], path: str | None = None
) -> str:
    """The points, one a line, as Qdrant takes them: ``id``, ``vector``, ``payload``."""
    now = datetime.now(UTC).isoformat()

    def lines() -> Iterator[dict[str, Any]]:
        for row, (point, text, metadata) in enumerate(zip(ids, encoded.texts, encoded.metadata, strict=True)):
            payload = {
                **metadata,
                "text": text,
                "text_preview": text[:_PREVIEW],
                "kaggle_export_timestamp": now,
            }
            if config.include_model_info:
                payload["model_info"] = dict(encoded.model)
            yield {"id": point, "vector": encoded.vector(row), "payload": payload}

    return _write_lines(path or config.get_output_path("_qdrant.jsonl"), lines())


def _write_sparse(encoded: Encoded, config: KaggleExportConfig, ids: Sequence[str]) -> str:
    """A line for each point: V4's own entry, or each vector by its name."""
    empty: dict[str, Any] = {"indices": [], "values": [], "tokens": [], "stats": {}}

    def lines() -> Iterator[dict[str, Any]]:
        for point, found in zip(ids, encoded.sparse, strict=True):
            if encoded.modifiers:
                yield {"id": point, "sparse_vectors": found or {}}
                continue
            entry = found or empty
            vector = {"indices": entry["indices"], "values": entry["values"]}
            yield {
                "id": point,
                "sparse_vector": vector,
                "tokens": entry["tokens"],
                "stats": entry["stats"],
            }

    return _write_lines(config.get_output_path("_sparse.jsonl"), lines())


def _write_numpy(encoded: Encoded, config: KaggleExportConfig) -> dict[str, str]:
    import numpy as np

    def save(suffix: str, matrix: NDArray[np.float32]) -> str:
        path = config.get_output_path(suffix)
        with _whole(path) as file:
            np.save(file, matrix)
        return path

    paths = {"numpy": save("_embeddings.npy", encoded.main)}
    for key, name in encoded.companions.items():
        paths[f"numpy_{key}"] = save(f"_{key}_embeddings.npy", encoded.dense[name])
    return paths


def _write_faiss(encoded: Encoded, config: KaggleExportConfig) -> str | None:
    """The main vectors as an index of inner products; None, and a line that says why, without FAISS."""
    if find_spec("faiss") is None:
        logger.warning("no FAISS index is written: %s", MissingExtraError("export_faiss", "faiss"))
        return None
    import faiss
    import numpy as np

    index = faiss.IndexFlatIP(encoded.main.shape[1])
    index.add(np.ascontiguousarray(encoded.main))
    path = config.get_output_path("_index.faiss")
    with _whole(path) as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    return path


def _write_script(encoded: Encoded, config: KaggleExportConfig, collection: str, jsonl: str) -> str:
    """The script that uploads the points, with what it must know of them filled in."""
    dims = {name: matrix.shape[1] for name, matrix in encoded.dense.items()}
    settings = {
        "collection": collection,
        "file": Path(jsonl).name,
        "dense": {"": encoded.main.shape[1]} if encoded.unnamed else dims,
        "sparse": dict(encoded.modifiers),
    }
    lines = Path(__file__).with_name("upload_script.py").read_text("utf-8").splitlines()
    filled = _SETTINGS_LINE + pprint.pformat(settings, sort_dicts=False)
    text = "\n".join(filled if line.startswith(_SETTINGS_LINE) else line for line in lines)
    path = config.get_output_path("_upload_script.py")
    with _whole(path) as file:
        file.write(f"{text}\n".encode())
    return path


def _write_json(path: str, said: object) -> str:
    with _whole(path) as file:
        file.write(_encoded(said))
    return path


def _write_lines(path: str, records: Iterable[object]) -> str:
    with _whole(path) as file:
        for record in records:
            file.write(_encoded(record) + b"\n")
    return path


def _encoded(said: object) -> bytes:
    """JSON in UTF-8; what text cannot hold (half of a surrogate pair) is a question mark."""
    return json.dumps(said, ensure_ascii=False, allow_nan=False, default=str).encode("utf-8", "replace")


@contextmanager
def _whole(path: str) -> Iterator[IO[bytes]]:
    """A file that is there as a whole or not at all, in a folder that is made.

    Raises:
        StoreError: the folder cannot be made, or the file not written.
    """
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error.strerror}; name another working_dir") from error
    with written(Path(path)) as file:
        yield file
