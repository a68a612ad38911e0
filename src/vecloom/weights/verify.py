"""Whether a model's files are what its row says, and the row to write down where it does not say."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vecloom.errors import MissingExtraError, VecloomError, WeightsError
from vecloom.registry import GoldenVector, ModelSpec
from vecloom.types import SparseRows, Vectors
from vecloom.weights.origin import RECORD, FileRecord, Origin, wanted

#: Texts -> the row's vectors, on the documents' side.
Encode: TypeAlias = Callable[[Sequence[str]], Vectors]

#: How far a value may be from the golden one; float32 on other machines differs by about 1e-6.
GOLDEN_TOLERANCE = 1e-4

_WORD_EMBEDDINGS = ("word_embeddings.weight", "embed_tokens.weight")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared. ``ok`` is None where the row does not say what it should be."""

    name: str
    ok: bool | None
    detail: str


def verify(spec: ModelSpec, folder: Path | None, encode: Encode) -> list[Check]:
    """Compare the files in ``folder`` (None for a row without files) and what they encode with the row.

    The checks, in order: ``files`` (there, and whole by their safetensors headers), ``sha256`` (the row's,
    else those of the first pull), ``dim`` (of the word embeddings, without loading them), ``golden`` (not
    run after another one failed).
    """
    checks = [] if folder is None else list(_file_checks(spec, folder))
    if any(check.ok is False for check in checks):
        return [*checks, Check("golden", None, "not run, as the files are not right")]
    return [*checks, _golden(spec, encode)]


def row_text(spec: ModelSpec, folder: Path) -> str | None:
    """The lines of ``[models.KEY]`` that pin the files in ``folder``; None where the row pins all already."""
    if spec.files and all(file.sha256 for file in spec.files):
        return None
    origin = Origin.read(folder / RECORD)
    lines = []
    if origin is not None and origin.kind == "hub":
        lines.append(f"revision = {json.dumps(origin.commit)}")
    pairs = [f"{json.dumps(name)} = {json.dumps(record.sha256)}" for name, record in _records(spec, folder)]
    lines.append(f"files = {{ {', '.join(pairs)} }}")
    return "\n".join(lines) + "\n"


def _records(spec: ModelSpec, folder: Path) -> list[tuple[str, FileRecord]]:
    there = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [(name, FileRecord.of(folder / name)) for name in wanted(spec, there, f"the folder {folder}")]


def _file_checks(spec: ModelSpec, folder: Path) -> Iterable[Check]:
    try:
        records = _records(spec, folder)
        headers = [_header(folder / name) for name, _ in records if name.endswith(".safetensors")]
    except WeightsError as wrong:
        yield Check("files", False, str(wrong))
        return
    yield Check("files", True, f"{len(records)} in {folder}")
    yield _sha256(spec, records, Origin.read(folder / RECORD))
    yield _dim(spec, headers)


def _sha256(spec: ModelSpec, records: list[tuple[str, FileRecord]], origin: Origin | None) -> Check:
    expected = {name: record.sha256 for name, record in origin.files.items()} if origin else {}
    expected |= {file.path: file.sha256 for file in spec.files if file.sha256}
    wrong = [name for name, record in records if expected.get(name, record.sha256) != record.sha256]
    if wrong:
        return Check("sha256", False, f"{', '.join(wrong)}: not the file that was named or first pulled")
    known = sum(name in expected for name, _ in records)
    return Check("sha256", True if known == len(records) else None, f"{known} of {len(records)} known, equal")


def _dim(spec: ModelSpec, headers: list[dict[str, Any]]) -> Check:
    widths = {
        tensor["shape"][-1]
        for header in headers
        for name, tensor in header.items()
        if name.endswith(_WORD_EMBEDDINGS)
    }
    native = max(spec.matryoshka_dims, default=spec.dim)
    if native is None or not widths:
        return Check("dim", None, f"the row says {native}, the files {sorted(widths) or 'nothing'}")
    return Check("dim", widths == {native}, f"the row says {native}, the files {sorted(widths)}")


def _header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file by name, from its header; WeightsError where it is cut or is none.

    Format: 8 bytes, little endian, the length of the JSON header, the header, the data
    (https://github.com/huggingface/safetensors#format).
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError(f"its header is said to be {length} bytes long")
            tensors = json.loads(file.read(length))
        tensors.pop("__metadata__", None)
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (struct.error, ValueError, AttributeError, KeyError, TypeError, RecursionError) as problem:
        raise WeightsError(f"{path} is no safetensors file: {problem}") from problem
    if end != size:
        raise WeightsError(f"{path} has {size} bytes, its header says {end}: fetch it again")
    return dict(tensors)


def _golden(spec: ModelSpec, encode: Encode) -> Check:
    golden = spec.golden
    try:
        vectors = encode([golden.text if golden else "The loom weaves."])
        if golden is None:
            return Check(
                "golden", None, "the row has none; a line went through the model: as wide as it says, no NaN"
            )
        off, said = _distance(golden, vectors)
    except MissingExtraError as missing:
        return Check("golden", None, str(missing))
    except VecloomError as wrong:
        return Check("golden", False, str(wrong))
    return Check("golden", off <= GOLDEN_TOLERANCE, said)


def _distance(golden: GoldenVector, vectors: Vectors) -> tuple[float, str]:
    """The largest difference from the golden values, and a line on it; infinite where the shapes differ."""
    import numpy as np

    if isinstance(vectors, SparseRows):
        indices, values = vectors.row(0)
        if tuple(indices.tolist()) != golden.indices:
            return float("inf"), f"other token ids: {len(indices)} instead of {len(golden.indices)}"
        found = values
    else:
        found = vectors[0].ravel()[: len(golden.values)]
    if len(found) != len(golden.values):
        return float("inf"), f"{len(found)} values instead of {len(golden.values)}"
    off = float(np.abs(found - np.array(golden.values)).max())  # NaN stays NaN, which no tolerance allows
    return off, f"the largest of {len(found)} differences is {off:.1e}"
