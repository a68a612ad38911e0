"""A wheel of vecloom as it is installed, made without a build tool."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

from vecloom.errors import VecloomError
from vecloom.version import __version__

_PACKAGE = Path(__file__).parent
#: The module of V4 lies beside the package; its folder may hold modules of others too.
_BESIDE = Path("processor", "kaggle_ultimate_embedder_v4.py")
_METADATA = ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE")
#: A zip cannot hold an earlier date. A fixed one gives equal wheels of equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


def repack_wheel() -> tuple[str, bytes]:
    """File name and bytes of the wheel, its files stored without compression.

    Raises:
        VecloomError: vecloom runs without being installed, or was changed since.
    """
    try:
        distribution = importlib.metadata.distribution("vecloom")
    except importlib.metadata.PackageNotFoundError:
        raise VecloomError(
            f"vecloom runs from {_PACKAGE} without being installed; install it first"
        ) from None
    if distribution.version != __version__:
        raise VecloomError(
            f"vecloom was installed as {distribution.version} and is now {__version__}; install it again"
        )
    files = {
        path.relative_to(_PACKAGE.parent).as_posix(): path.read_bytes()
        for path in [*_PACKAGE.rglob("*"), _PACKAGE.parent / _BESIDE]
        if path.is_file() and "__pycache__" not in path.parts
    }
    folder = f"vecloom-{__version__}.dist-info"
    for name in _METADATA:
        text = distribution.read_text(name)
        if text is None:
            raise VecloomError(f"{name} of the installed vecloom is gone; install it again")
        files[f"{folder}/{name}"] = text.encode()
    files[f"{folder}/RECORD"] = _format_record(files, f"{folder}/RECORD")
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(
            files, key=lambda name: (folder in name, name)
        ):  # metadata last, as wheels have it
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return f"vecloom-{__version__}-py3-none-any.whl", wheel.getvalue()


def _format_record(files: dict[str, bytes], own: str) -> bytes:
    """RECORD: name, sha256 and size of each file; ``own`` is its own name, which has neither."""
    table = io.StringIO(newline="")
    rows = csv.writer(table, lineterminator="\n")
    for name, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([own, "", ""])
    return table.getvalue().encode()
