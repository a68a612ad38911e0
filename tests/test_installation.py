"""What to type to add an extra or to upgrade: lines that work without a package index of ours."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Vecloom
from vecloom import installation
from vecloom.errors import MissingExtraError
from vecloom.installation import describe_extra, describe_upgrade, format_install_command, read_requirements
from vecloom.version import __version__

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]

#: A command that installs, then what it is given up to the end of the line or the command.
_INSTALLS = re.compile(
    r"(?:\b(?:pip3?|pipx|uv|conda)\b[^`;|&]*?\b(?:install|add|inject|upgrade|run)\b|\buvx\b)(?P<given>[^`;|&]*)"
)
#: vecloom by its bare name, with an extra or a version or without: not a path, a wheel or `vecloom @ URL`.
_BARE = re.compile(r"""(?<![\w./@+-])vecloom(?![\w./-])(?:\[[^\]]*\])?+(?!\s*@)""")


def names_vecloom_on_an_index(line: str) -> bool:
    return any(_BARE.search(command["given"]) for command in _INSTALLS.finditer(line))


def written() -> Iterator[Path]:
    """The files that may tell somebody what to install."""
    yield from (
        ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "Makefile")
    )
    for folder in ("docs", "src", "tools", "bench"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".md", ".py", ".html", ".js", ".ipynb"):
                yield path


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("pip install vecloom", True),
        ('pip install "vecloom[pack,server]"', True),
        ("pip install 'vecloom[torch]==0.1.0'", True),
        ("upgrade with pip install -U vecloom, or", True),
        ("python -m pip install --quiet numpy vecloom>=1", True),
        ("uv tool install vecloom", True),
        ("uv add vecloom", True),
        ("uvx vecloom search", True),
        ("pipx install vecloom", True),
        ("pip install .", False),
        ("pip install '.[pack,server]'", False),
        ("pip install dist/vecloom-0.1.0-py3-none-any.whl", False),
        ("pip install 'vecloom[pack] @ git+https://HOST/OWNER/vecloom.git'", False),
        ("uv tool install git+https://HOST/OWNER/vecloom.git", False),
        ("pip install ~/src/vecloom", False),
        ("pip install . && vecloom doctor", False),
    ],
)
def test_an_install_line_by_the_bare_name_is_known(line: str, bare: bool) -> None:
    assert names_vecloom_on_an_index(line) is bare


def test_no_line_installs_vecloom_from_an_index() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in written()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if names_vecloom_on_an_index(line)
    ]
    assert found == []


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"all"}))
def test_an_extra_is_added_by_the_names_of_its_packages(extra: str) -> None:
    names = [re.split("[>=<~]", requirement)[0] for requirement in EXTRAS[extra]]
    assert [re.split("[>=<~]", requirement)[0] for requirement in read_requirements(extra)] == names
    said = str(MissingExtraError("this", extra))
    assert said == f"this needs an optional dependency: {describe_extra(extra)}" and "\n" not in said


def test_the_line_is_a_command_that_works() -> None:
    line = describe_extra("server")
    environ = {**os.environ, "PIP_NO_INDEX": "1"}  # what it installs is here already
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "already satisfied: qdrant-client" in done.stdout


def test_the_command_reaches_the_environment_that_runs_vecloom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "my env" / "python"
    python.parent.mkdir()
    for name in ("pip", "python"):
        (python.parent / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(python.parent))
    asked = ["torch>=2.8", "numpy"]
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/pip")  # of another environment
    assert format_install_command(asked) == f"'{python}' -m pip install 'torch>=2.8' numpy"
    monkeypatch.setattr(shutil, "which", lambda name: str(python.parent / "pip"))
    assert format_install_command(asked) == "pip install 'torch>=2.8' numpy"
    monkeypatch.setattr(installation, "find_spec", lambda name: None)  # as in a tool environment of uv
    assert format_install_command(asked) == f"uv pip install --python '{python}' 'torch>=2.8' numpy"
    monkeypatch.setattr(os, "name", "nt")
    assert format_install_command(asked) == f'uv pip install --python "{python}" "torch>=2.8" numpy'


def installed_from(folder: Path, origin: Any) -> None:
    """Metadata of a vecloom, as pip writes it, without extras."""
    info = folder / f"vecloom-{__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: vecloom\nVersion: {__version__}\n", "utf-8")
    if origin is not None:
        (info / "direct_url.json").write_text(
            origin if isinstance(origin, str) else json.dumps(origin), "utf-8"
        )


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (
            {"url": "https://example.org/v.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}},
            "upgrade with pip install --force-reinstall git+https://example.org/v.git",
        ),
        (
            {"url": "file:///home/me/a%20clone", "dir_info": {}},
            "upgrade with git -C '/home/me/a clone' pull && pip install --force-reinstall '/home/me/a clone'",
        ),
        ({"url": "file:///home/me/v", "dir_info": {"editable": True}}, "upgrade with git -C /home/me/v pull"),
        (
            {"url": "file:///tmp/vecloom-0.1.0-py3-none-any.whl", "archive_info": {}},
            "upgrade with a newer wheel: pip install vecloom-NEWER-py3-none-any.whl",
        ),
        (None, "upgrade with a newer wheel: pip install vecloom-NEWER-py3-none-any.whl"),
        ("{", "upgrade with a newer wheel: pip install vecloom-NEWER-py3-none-any.whl"),
        ("[]", "upgrade with a newer wheel: pip install vecloom-NEWER-py3-none-any.whl"),
    ],
)
def test_an_upgrade_comes_from_where_vecloom_came_from(
    origin: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path, origin)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installation, "_is_pip_on_path", lambda: True)
    assert describe_upgrade() == said


def test_an_extra_that_the_metadata_does_not_list_is_installed_from_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_from(tmp_path, None)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installation, "_is_pip_on_path", lambda: True)
    assert shlex.split(describe_extra("server")) == ["pip", "install", f"{ROOT}[server]"]
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "lib" / "vecloom" / "installation.py"))
    assert describe_extra("server") == 'install vecloom again with its extra "server"'


def test_doctor_says_where_it_runs_and_how_to_add_what_is_missing(
    vecloom: Vecloom, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vecloom("doctor").out.splitlines()[0]
    assert first.startswith(f"ok   vecloom: {__version__} in {Path(installation.__file__).parent}, Python 3.")
    monkeypatch.setattr("vecloom.doctor.is_installed", lambda requirement: "pyarrow" not in requirement)
    said = [row for row in vecloom("doctor", "--json").rows if row["check"].startswith("extra ")]
    assert said == [
        {"check": "extra pack", "ok": True, "detail": f"not installed; add it: {describe_extra('pack')}"}
    ]


def test_the_version_is_one_line(vecloom: Vecloom) -> None:
    assert vecloom("--version") == (0, f"vecloom {__version__}\n", "")
