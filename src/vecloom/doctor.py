"""Whether this machine can index and search, and what to do where it cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vecloom.config import Config, load_config
from vecloom.errors import VecloomError, WeightsError
from vecloom.installation import describe_extra, is_installed, list_extras, read_requirements
from vecloom.registry import DEFAULT_MODELS
from vecloom.version import __version__

_PACKAGES = (
    "onnxruntime",
    "qdrant-edge-py",
    "tokenizers",
    "tokie",
    "tree-sitter",
    "semble-grammars",
    "numpy",
)

_OPTIONAL = (
    "transformers",
    "openvino",
    "pypdf",
    "python-docx",
    "pyarrow",
    "orjson",
    "qdrant-client",
    "faiss-cpu",
)

#: An index of some ten thousand chunks and the weights fit into this.
_ROOM_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; where it is not ``ok``, ``detail`` says what to do."""

    check: str
    ok: bool
    detail: str


def examine(config: Config | None = None) -> list[Finding]:
    """Check versions, folders, weights, the encoders and the embedded engine, in this order."""
    try:
        config = config or load_config()
    except VecloomError as error:
        return [Finding("config", False, str(error))]
    findings = [
        Finding("vecloom", True, _describe_installation()),
        _attempt("packages", lambda: ", ".join(_versions())),
        Finding("processor", True, _processor()),
        _attempt("extras", _extras),
        *_missing_extras(),
        Finding("config", True, f"{config.file}{'' if config.file.is_file() else ' (none, defaults)'}"),
    ]
    findings += [
        _folder(name, path) for name, path in (("data", config.data_dir), ("cache", config.cache_dir))
    ]
    findings += [
        _attempt("weights", lambda: _weights(config)),
        _attempt("grammars", lambda: _grammars(config)),
    ]
    if all(finding.ok for finding in findings):
        findings.append(_attempt("index and search", lambda: _round_trip(config)))
    return findings


def _attempt(check: str, act: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, act())
    except (VecloomError, ImportError, OSError) as error:
        return Finding(check, False, str(error))


def _describe_installation() -> str:
    where = Path(__file__).parent
    return f"{__version__} in {where}, Python {platform.python_version()}, {platform.platform()}"


def _versions() -> Iterator[str]:
    for package in _PACKAGES:
        yield f"{package} {importlib.metadata.version(package)}"


def _extras() -> str:
    """The optional packages that are installed, and the GPUs that PyTorch finds."""
    found = []
    if find_spec("torch") is not None:
        from vecloom.encoders.backends import devices_of
        from vecloom.encoders.pretrained import import_torch

        torch = import_torch()
        names = [torch.cuda.get_device_name(device) for device in devices_of("auto") if device != "cpu"]
        found.append(f"torch {torch.__version__} ({', '.join(names) or 'no CUDA device'})")
    for package in _OPTIONAL:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found) or "none"


def _missing_extras() -> Iterator[Finding]:
    """The extras that lack a package, each with the command that adds it."""
    for extra in list_extras():
        if not all(map(is_installed, read_requirements(extra))):
            yield Finding(f"extra {extra}", True, f"not installed; add it: {describe_extra(extra)}")


def _processor() -> str:
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        flags = set(info.read_text("utf-8", "replace").split())
    fast = sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"})
    return f"{platform.machine()}, {os.cpu_count()} cores{', ' + ' '.join(fast) if fast else ''}"


def _folder(name: str, path: Path) -> Finding:
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    if name == "cache" and path.is_dir() and not os.access(path, os.W_OK):
        return Finding(
            f"{name} folder", True, f"{path} can only be read; what it lacks is built for each process"
        )
    if not os.access(nearest, os.W_OK):
        return Finding(f"{name} folder", False, f"{path} cannot be written; set VECLOOM_{name.upper()}_DIR")
    if free < _ROOM_BYTES:
        return Finding(f"{name} folder", False, f"{path} has only {free / 1e6:,.0f} MB left; make room")
    return Finding(f"{name} folder", True, f"{path}, {free / 1e9:,.0f} GB free")


def _weights(config: Config) -> str:
    """Encode a line with the default models, whose files must be here: nothing is fetched to examine."""
    from vecloom.pipeline.setup import engine_of, passes_for
    from vecloom.weights import Weights

    weights = Weights(config)
    specs = config.registry().select(DEFAULT_MODELS)
    missing = [spec.key for spec in specs if spec.weights_id and weights.cached(spec) is None]
    if missing:
        raise WeightsError(f"the files of {', '.join(missing)} are not here; fetch them: vecloom models pull")
    vectors, _ = engine_of(passes_for(specs, config)).encode_documents(["The loom weaves."])
    return f"a line encoded as {', '.join(vectors)}"


def _grammars(config: Config) -> str:
    from vecloom.chunking import CANNOT_UNPACK, Chunker, unpacking
    from vecloom.encoders.counters import WordCounter
    from vecloom.types import Document

    unpacking.use_cache(config.cache_dir)
    document = Document("doctor", "a.py", "def answer():\n    return 42\n", "code", "python", "")
    chunked = Chunker(WordCounter(), 64).chunk(document)
    if chunked.fallback and chunked.fallback.startswith(CANNOT_UNPACK):
        raise OSError(unpacking.HINT)
    if chunked.fallback:
        raise ImportError(f"the Python grammar does not load ({chunked.fallback}); reinstall semble-grammars")
    return f"{chunked.chunks[0].breadcrumb}() found by its grammar"


def _round_trip(config: Config) -> str:
    """Index one line with the words alone, and find it."""
    from vecloom.index import Index

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tree").mkdir()
        (Path(folder) / "tree" / "note.txt").write_text("The loom weaves many threads.\n", "utf-8")
        with Index.create(Path(folder) / "index", ["qdrant-bm25"], config=config) as index:
            index.add(Path(folder) / "tree")
            hits = index.search("threads")
    if len(hits) != 1:
        raise VecloomError(f"a note that was indexed was found {len(hits)} times; please report this")
    return "a note was indexed and found"
