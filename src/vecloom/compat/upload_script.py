"""Upload exported points to a Qdrant server.

Needs qdrant-client (pip install qdrant-client), and the JSONL file beside it. QDRANT_URL says where the
server is (else http://localhost:6333), QDRANT_API_KEY its key if it wants one, QDRANT_COLLECTION another
collection. Points keep their ids, so that running this again changes nothing.
"""

import ipaddress
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

# What the export wrote. dense: name -> dimension ("" where there is one vector without a name). sparse: name
# -> "idf" where words weigh by their rarity.
SETTINGS: dict[str, Any] = {"collection": "", "file": "", "dense": {}, "sparse": {}}

BATCH = 100


def points(path: Path) -> Iterator[models.PointStruct]:
    """The points of the JSONL file, one a line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield models.PointStruct(**json.loads(line))


def create(client: QdrantClient, collection: str) -> None:
    """Make the collection, unless it is there."""
    if client.collection_exists(collection):
        return
    dense = {
        name: models.VectorParams(size=size, distance=models.Distance.COSINE)
        for name, size in SETTINGS["dense"].items()
    }
    sparse = {
        name: models.SparseVectorParams(modifier=models.Modifier.IDF if modifier == "idf" else None)
        for name, modifier in SETTINGS["sparse"].items()
    }
    client.create_collection(collection, dense.get("", dense), sparse_vectors_config=sparse or None)


def upload(client: QdrantClient, collection: str = "", path: Path | None = None) -> int:
    """Put all points into the collection, and tell how many there were."""
    collection = collection or SETTINGS["collection"]
    create(client, collection)
    found = points(path or Path(__file__).with_name(SETTINGS["file"]))
    count = 0
    while batch := list(islice(found, BATCH)):
        client.upsert(collection, batch, wait=True)
        count += len(batch)
    return count


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> None:
    """Upload to the server that the environment names."""
    url = os.environ.get("QDRANT_URL", "http://localhost:6333")
    key = os.environ.get("QDRANT_API_KEY")
    parts = urlsplit(url)
    if key and parts.scheme != "https" and not is_local(parts.hostname or ""):
        sys.exit(f"the key would go to {url} in the clear; use https")
    collection = os.environ.get("QDRANT_COLLECTION", SETTINGS["collection"])
    client = QdrantClient(url=url, api_key=key, timeout=120)
    print(f"{upload(client, collection)} points are in {collection} at {url}")


if __name__ == "__main__":
    main()
