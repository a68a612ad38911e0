"""Write what FlagEmbedding makes of the tests' stand-in for bge-m3: `tests/golden/bge_m3.json`.

    python -m venv flag && flag/bin/pip install torch==2.13.0 FlagEmbedding==1.4.2 "transformers<5" numpy
    flag/bin/python tools/golden_m3.py FOLDER

FOLDER is what `bench.standins.make_m3` writes. FlagEmbedding 1.4 does not run with the transformers that
vecloom's tests use, so its answers are kept, not asked for.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "tests" / "golden" / "bge_m3.json"

#: The texts, and how many of them are kept as matrices too, as these are large.
TEXTS = (
    "open the connection",
    "",
    "retry the retry: connection, connect!",
    "def retry(times: int) -> None:\n    for _ in range(times):\n        open(the, connection)\n",
    "retry the connection " * 9,
)
LIMIT, MATRICES = 120, 3


def main() -> None:
    """Write the file."""
    from FlagEmbedding import BGEM3FlagModel

    lengths = {"query_max_length": LIMIT, "passage_max_length": LIMIT}
    model: Any = BGEM3FlagModel(sys.argv[1], use_fp16=False, devices=["cpu"], **lengths)
    found = model.encode(
        list(TEXTS), max_length=LIMIT, return_dense=True, return_sparse=True, return_colbert_vecs=True
    )
    golden = {
        "versions": {name: version(name) for name in ("FlagEmbedding", "transformers", "torch")},
        "limit": LIMIT,
        "texts": TEXTS,
        "dense": [_rounded(row) for row in found["dense_vecs"]],
        "sparse": [
            {token: _rounded([weight])[0] for token, weight in row.items()}
            for row in found["lexical_weights"]
        ],
        "matrices": [[_rounded(row) for row in matrix] for matrix in found["colbert_vecs"][:MATRICES]],
    }
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(golden, indent=0) + "\n")


def _rounded(row: Any) -> list[float]:
    return [round(float(value), 7) for value in row]


if __name__ == "__main__":
    main()
