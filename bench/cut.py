"""Tokens of stored passages by the model's own tokenizer: ``python -m bench.cut FILE LIMIT``.

FILE holds one JSON array (path, start, text) a line. Prints how many passages there are, their tokens
(special ones included), and how many of those lie beyond LIMIT; 0 is no limit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.peers.models import TRANSFORMER

_BATCH = 1000


def main(path: str, limit: str) -> None:
    """Count, and print three numbers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TRANSFORMER / "tokenizer.json"))
    texts = [json.loads(line)[2] for line in Path(path).read_text("utf-8").splitlines()]
    lengths = [
        len(encoding)
        for start in range(0, len(texts), _BATCH)
        for encoding in tokenizer.encode_batch_fast(texts[start : start + _BATCH])
    ]
    most = int(limit) or max(lengths)
    print(len(lengths), sum(lengths), sum(max(0, length - most) for length in lengths))


if __name__ == "__main__":
    main(*sys.argv[1:])
