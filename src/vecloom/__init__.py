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
    from vecloom.carry import embed, export, load
    from vecloom.config import Config, load_config
    from vecloom.encoders.backends import How
    from vecloom.errors import VecloomError
    from vecloom.index import Index
    from vecloom.pipeline.encoding import Encoding
    from vecloom.pipeline.loading import LoadReport
    from vecloom.pipeline.report import IndexReport, Progress
    from vecloom.pipeline.status import IndexStatus
    from vecloom.standalone import Reranker, TextEncoder, encode_texts, generate_sparse_vectors
    from vecloom.types import Hit, LegHit

__all__ = [
    "Config",
    "Encoding",
    "Hit",
    "How",
    "Index",
    "IndexReport",
    "IndexStatus",
    "LegHit",
    "LoadReport",
    "Progress",
    "Reranker",
    "TextEncoder",
    "VecloomError",
    "__version__",
    "embed",
    "encode_texts",
    "export",
    "generate_sparse_vectors",
    "load",
    "load_config",
]

_HOMES = {
    "Config": "vecloom.config",
    "Encoding": "vecloom.pipeline.encoding",
    "Hit": "vecloom.types",
    "How": "vecloom.encoders.backends",
    "Index": "vecloom.index",
    "IndexReport": "vecloom.pipeline.report",
    "IndexStatus": "vecloom.pipeline.status",
    "LegHit": "vecloom.types",
    "Progress": "vecloom.pipeline.report",
    "LoadReport": "vecloom.pipeline.loading",
    "Reranker": "vecloom.standalone",
    "TextEncoder": "vecloom.standalone",
    "VecloomError": "vecloom.errors",
    "embed": "vecloom.carry",
    "encode_texts": "vecloom.standalone",
    "export": "vecloom.carry",
    "generate_sparse_vectors": "vecloom.standalone",
    "load": "vecloom.carry",
    "load_config": "vecloom.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'vecloom' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
