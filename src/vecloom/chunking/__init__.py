"""Documents to chunks: exact slices along the structure of code, prose, notebooks and data.

A reader (`vecloom.chunking.readers`) outlines where a document may be cut and what a cut there costs; the
packing (`vecloom.chunking.pack`) chooses the cuts; `Chunker` puts both together.
"""

from __future__ import annotations

from vecloom.chunking.chunker import CHUNKER_VERSION, MIN_BUDGET, Chunked, Chunker
from vecloom.chunking.grammars import CANNOT_UNPACK
from vecloom.chunking.header import context_header

__all__ = ["CANNOT_UNPACK", "CHUNKER_VERSION", "MIN_BUDGET", "Chunked", "Chunker", "context_header"]
