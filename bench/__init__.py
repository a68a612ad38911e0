"""Speed against peers: ``python -m bench`` for the parts, ``bench.e2e`` and ``bench.large`` for the whole."""

from pathlib import Path

#: What the benches make: trees, model folders, indexes, results. Not part of the repository.
FOLDER = Path(__file__).resolve().parent.parent / ".bench"
