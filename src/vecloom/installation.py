"""How this copy of vecloom was installed, and the commands that add to it or upgrade it.

vecloom is on no package index, so no command can name it there. A command names the packages of an extra
instead, as the installed metadata lists them, or the place that vecloom was installed from.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PLAIN = re.compile(r"[\w.:/\\=-]+")


def list_extras() -> list[str]:
    """Names of the extras, without ``all``; empty if vecloom runs without being installed."""
    try:
        names = importlib.metadata.metadata("vecloom").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(name for name in names if name != "all")


def read_requirements(extra: str) -> list[str]:
    """Requirements that an extra adds, such as ``qdrant-client>=1.20``; empty if they are not known."""
    try:
        lines = importlib.metadata.requires("vecloom") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    split = (line.partition(";") for line in lines)
    return [requirement.strip() for requirement, _, condition in split if marker.search(condition)]


def is_installed(requirement: str) -> bool:
    """True if any version of the required package is installed."""
    name = _NAME.match(requirement)
    try:
        importlib.metadata.version(name[0] if name else requirement)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def format_install_command(requirements: Sequence[str], reinstall: bool = False) -> str:
    """Shell command that installs packages into the environment that runs vecloom.

    A tool environment of uv has no pip, and the ``pip`` on the path may belong to another environment.
    """
    python = sys.executable or "python"
    if find_spec("pip") is None:
        command = ["uv", "pip", "install", "--python", python]
        command += ["--reinstall-package", "vecloom"] * reinstall
    else:
        command = ["pip", "install"] if _is_pip_on_path() else [python, "-m", "pip", "install"]
        command += ["--force-reinstall"] * reinstall
    return " ".join(map(_quote, [*command, *requirements]))


def describe_extra(extra: str) -> str:
    """What to do to add an extra: a command, where its packages or a clone are known."""
    if requirements := read_requirements(extra):
        return format_install_command(requirements)
    clone = Path(__file__).parents[2]
    if (clone / "pyproject.toml").is_file():
        return format_install_command([f"{clone}[{extra}]"])
    return f'install vecloom again with its extra "{extra}"'


def describe_upgrade() -> str:
    """What to do to upgrade vecloom, from where it was installed."""
    origin = _read_origin()
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        source = f"{origin['vcs_info'].get('vcs', 'git')}+{url}"
        return f"upgrade with {format_install_command([source], reinstall=True)}"
    if "dir_info" in origin:
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        folder = url2pathname(urlsplit(url).path)
        pull = f"upgrade with git -C {_quote(folder)} pull"
        if origin["dir_info"].get("editable"):
            return pull
        return f"{pull} && {format_install_command([folder], reinstall=True)}"
    return f"upgrade with a newer wheel: {format_install_command(['vecloom-NEWER-py3-none-any.whl'])}"


def _read_origin() -> dict[str, Any]:
    """``direct_url.json`` (PEP 610), which names what pip or uv installed; empty if there is none."""
    try:
        text = importlib.metadata.distribution("vecloom").read_text("direct_url.json")
        origin = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _is_pip_on_path() -> bool:
    """True if ``pip`` alone means the pip of this virtual environment."""
    pip = shutil.which("pip")
    return (
        sys.prefix != sys.base_prefix and pip is not None and Path(pip).parent == Path(sys.executable).parent
    )


def _quote(word: str) -> str:
    if os.name == "nt":  # cmd and PowerShell know double quotes
        return word if _PLAIN.fullmatch(word) else f'"{word}"'
    return shlex.quote(word)
