"""vecloom weaves several embedding models, dense and sparse, into one Qdrant point."""

from __future__ import annotations

__version__ = "0.1.0"
