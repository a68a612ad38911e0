"""A tokenizer that is not additive over lines: byte pairs, some of them across line ends."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers


def write_bpe(folder: Path) -> Path:
    """``tokenizer.json`` of a byte-level BPE that joins line ends with what stands beside them."""
    newline, space = "Ċ", "Ġ"
    pairs = [(newline, newline), (space, space), (newline, space), ("r", "e"), ("i", "n"), (":", newline)]
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in pairs]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path
