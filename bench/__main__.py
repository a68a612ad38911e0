"""Speed of the parts, side by side with their peers: ``python -m bench [chunkers] [stores] [encoders]``.

Prints the tables and writes them into docs/benchmarks.md. The whole is ``python -m bench.e2e``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import FOLDER
from bench.children import ROOT, python
from bench.report import Table, machine, write_section
from bench.tree import make_tree

#: Bytes of the tree whose chunks are encoded, and of each language that the slow chunkers are given.
ENCODED, PEER_LANGUAGE = 4_000_000, 500_000

_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "chunkers": ("tree-sitter", "semble-grammars", "tokie", "chonkie", "semantic-text-splitter", "semble"),
    "stores": ("qdrant-edge-py", "numpy"),
    "encoders": (
        "onnxruntime",
        "openvino",
        "numpy",
        "fastembed",
        "sentence-transformers",
        "transformers",
        "torch",
    ),
}


def chunkers() -> str:
    """The chunkers' table: a language and a tool a row."""
    from bench.chunkers import compare, default_folders

    rows = compare(default_folders(), _minilm() / "tokenizer.json", peer_limit=PEER_LANGUAGE)
    return Table(list(rows[0]), [list(map(_shown, row.values())) for row in rows]).markdown()


def stores() -> str:
    """What the store's bench prints, as it stands."""
    said = subprocess.run(
        python("bench.stores"), check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ).stdout
    return f"```text\n{said.strip()}\n```"


def encoders() -> str:
    """The encoders' tables, each under its name."""
    from bench.encoders import corpora_of, run

    folder = _minilm()
    corpora = corpora_of(make_tree(FOLDER / "tree-encoded", ENCODED).folder, folder)
    tables = run(folder, corpora, cores=sorted({1, len(os.sched_getaffinity(0))})).tables
    return "\n\n".join(f"**{name}**\n\n{table.markdown()}" for name, table in tables.items())


PARTS: Mapping[str, Callable[[], str]] = {"chunkers": chunkers, "stores": stores, "encoders": encoders}


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    named = parser.parse_args().parts
    if unknown := sorted(set(named) - set(PARTS)):
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    for name in named or PARTS:
        text = f"{PARTS[name]()}\n\n{machine(_VERSIONS[name])}"
        print(f"{name}\n\n{text}\n", flush=True)
        write_section(name, text)


def _minilm() -> Path:
    """The folder of the real MiniLM files."""
    from vecloom.config import load_config
    from vecloom.weights import Weights

    config = load_config()
    return Weights(config).folder(config.registry().find("qdrant-minilm-onnx"))


def _shown(value: object) -> str:
    """A cell: a truth as a word, nothing as a dash."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
