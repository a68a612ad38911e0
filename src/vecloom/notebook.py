"""A notebook that makes a pack on a borrowed GPU (Kaggle, Colab), to be loaded at home."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vecloom.errors import UsageError, VecloomError
from vecloom.installation import read_requirements
from vecloom.repack import repack_wheel

#: The six vectors of the seed.
SEED_MODELS = (
    "jina-code-embeddings-1.5b",
    "bge-m3",
    "nomic-coderank",
    "qdrant-minilm-onnx",
    "qdrant-minilm-attention",
    "qdrant-bm25",
)

#: A session of Kaggle's ends after 12 hours, whatever runs in it.
DEFAULT_MINUTES = 11 * 60

_ABOUT = """\
# Embed with vecloom

Chunks and encodes a dataset on every GPU of this session, and leaves one file to download: `pack.zip`.

1. Attach the dataset (Kaggle: *Add Input*; Colab: upload or mount it), and switch a GPU and the internet on.
2. Run all cells. The run stops by itself before the session ends.
3. Not finished? Save this version, attach its output as a further input, and run all cells again: it goes on.
4. At home: `vecloom load pack.zip --to my-index`, then `vecloom search "..." --index my-index`; or
   `--to https://HOST:6333 --collection NAME` for a Qdrant server.
"""

_SETTINGS = """\
from pathlib import Path

MODELS = {models}
MINUTES = {minutes}  # then the run stops, and a further session goes on

KAGGLE = Path("/kaggle/input").is_dir()
INPUT = Path("/kaggle/input" if KAGGLE else ".").resolve()
WORK = Path("/kaggle/working" if KAGGLE else ".").resolve()
PACK = WORK / "pack"
# A former session's output is no part of the dataset.
FORMER = sorted(path for name in ("pack.zip", "pack/manifest.json") for path in INPUT.rglob(name))
FORMER = [path for path in FORMER if PACK not in path.parents]
OTHERS = {"pack", "sample_data", "drive"}  # what Colab puts there, or this notebook
DATA = [path for path in sorted(INPUT.iterdir()) if path.name not in OTHERS and path.name[0] != "."]
DATA = [path for path in DATA if path.suffix not in (".ipynb", ".whl", ".zip")]
DATA = [path for path in DATA if not any(path in former.parents for former in FORMER)]
print("dataset:", *DATA)
print("goes on with:", *FORMER[:1] or ["nothing"])
if not DATA:
    raise SystemExit(f"there is no dataset in {INPUT}: attach or upload one, or set DATA above")
"""

_WHEEL = """\
# vecloom itself: a wheel, packed by the command that wrote this notebook.
import base64
import hashlib
import lzma
from tempfile import mkdtemp

WHEEL = {wheel}
SHA256 = {sha256}
PACKED = '''
{packed}
'''
data = lzma.decompress(base64.b64decode(PACKED))
if hashlib.sha256(data).hexdigest() != SHA256:
    raise SystemExit("the wheel in this notebook is damaged: write the notebook again")
SPEC = str(Path(mkdtemp()) / WHEEL)
Path(SPEC).write_bytes(data)
"""

_INSTALL = """\
import subprocess
import sys

{spec}WITH = {requirements}
# -P: no module of the dataset is taken for one of these programs.
subprocess.run([sys.executable, "-P", "-m", "pip", "install", "--quiet", SPEC, *WITH], check=True)
subprocess.run([sys.executable, "-P", "-m", "vecloom", "doctor"], check=False)
"""

_EMBED = """\
import shutil
import subprocess
import sys
import zipfile

if FORMER and not PACK.exists():
    if FORMER[0].suffix == ".zip":
        with zipfile.ZipFile(FORMER[0]) as archive:
            archive.extractall(PACK)
    else:
        shutil.copytree(FORMER[0].parent, PACK)
COMMAND = [sys.executable, "-P", "-m", "vecloom", "embed", *map(str, DATA), "--out", str(PACK)]
COMMAND += ["--models", MODELS, "--minutes", str(MINUTES)]
FINISHED = subprocess.run(COMMAND, check=False).returncode == 0
"""

_ARCHIVE = """\
import zipfile

ARCHIVE = WORK / "pack.zip"
with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_STORED) as archive:
    for path in sorted(PACK.iterdir()):
        if path.suffix in (".json", ".parquet"):
            archive.write(path, path.name)
size = f"{ARCHIVE.stat().st_size / 1e6:,.1f} MB"
if FINISHED:
    print(f"{ARCHIVE} ({size}): download it; at home: vecloom load pack.zip --to my-index")
else:
    print(f"{ARCHIVE} ({size}) is not finished: attach it as an input, and run all cells again")
"""


#: How Jupyter and Kaggle are told to hide the source of a cell.
_FOLDED = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True}


def notebook(models: str, minutes: float = DEFAULT_MINUTES, install: str | None = None) -> dict[str, Any]:
    """The notebook, in format 4.5.

    ``models``: as ``--models`` takes them. ``install``: the pip requirement that brings vecloom; by default a
    wheel of this vecloom travels in the notebook.

    Raises:
        UsageError: ``install`` is no requirement.
        VecloomError: vecloom runs without being installed.
    """
    cells = {"about": _ABOUT, "settings": _fill(_SETTINGS, models=repr(models), minutes=f"{minutes:g}")}
    if install is None:
        cells["wheel"] = _write_wheel_cell()
    requirements = [name for extra in ("pack", "torch") for name in read_requirements(extra)]
    if not requirements:
        raise VecloomError(
            f"vecloom runs from {Path(__file__).parent} without being installed; install it first"
        )
    spec = "" if install is None else f"SPEC = {_check_requirement(install)!r}\n"
    cells["install"] = _fill(_INSTALL, spec=spec, requirements=repr(requirements))
    cells |= {"embed": _EMBED, "archive": _ARCHIVE}
    return {
        "cells": [_cell(name, source) for name, source in cells.items()],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _fill(template: str, **values: str) -> str:
    """Put values into a cell; a value is never searched for further places."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


def _write_wheel_cell() -> str:
    wheel, data = repack_wheel()
    packed = base64.encodebytes(lzma.compress(data, preset=9)).decode().strip()
    return _fill(_WHEEL, wheel=repr(wheel), sha256=repr(hashlib.sha256(data).hexdigest()), packed=packed)


def _check_requirement(text: str) -> str:
    """The text, which pip is to take as a requirement and not as an option of its own."""
    if not text.strip() or text.lstrip().startswith("-") or not text.isprintable():
        raise UsageError(f"--install takes one pip requirement, such as git+https://..., not {text!r}")
    return text.strip()


def _cell(name: str, source: str) -> Mapping[str, Any]:
    lines = source.strip("\n").splitlines(keepends=True)
    if name == "about":
        return {"cell_type": "markdown", "id": name, "metadata": {}, "source": lines}
    code: dict[str, Any] = {"execution_count": None, "outputs": []}
    metadata = _FOLDED if name == "wheel" else {}
    return {"cell_type": "code", "id": name, "metadata": metadata, "source": lines, **code}


def write_notebook(
    out: Path, models: str, minutes: float = DEFAULT_MINUTES, install: str | None = None
) -> None:
    """Write the notebook to ``out``; the rest as for `notebook`."""
    out.write_text(json.dumps(notebook(models, minutes, install), indent=1) + "\n", "utf-8")
