"""vecloom weaves several embedding models, dense and sparse, into one Qdrant point.

    import vecloom
    index = vecloom.Index.create("my-index")
    index.add("path/to/tree")
    for hit in index.search("where are retries configured", limit=5):
        print(hit.path, hit.start_line)

What is named here is the public interface; importing the package loads none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecloom.version import __version__

if TYPE_CHECKING:
    from vecloom.config import Config, load_config
    from vecloom.encoders.backends import How
    from vecloom.errors import VecloomError
    from vecloom.index import Index, IndexStatus
    from vecloom.pipeline.report import IndexReport, Progress
    from vecloom.standalone import generate_sparse_vectors
    from vecloom.types import Hit, LegHit

__all__ = [
    "Config",
    "Hit",
    "How",
    "Index",
    "IndexReport",
    "IndexStatus",
    "LegHit",
    "Progress",
    "VecloomError",
    "__version__",
    "generate_sparse_vectors",
    "load_config",
]

_HOMES = {
    "Config": "vecloom.config",
    "Hit": "vecloom.types",
    "How": "vecloom.encoders.backends",
    "Index": "vecloom.index",
    "IndexReport": "vecloom.pipeline.report",
    "IndexStatus": "vecloom.index",
    "LegHit": "vecloom.types",
    "Progress": "vecloom.pipeline.report",
    "VecloomError": "vecloom.errors",
    "generate_sparse_vectors": "vecloom.standalone",
    "load_config": "vecloom.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'vecloom' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
