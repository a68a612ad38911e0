"""The notebook for borrowed GPUs: its cells are run, as a session would, and its archive is carried home."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from commands import Vecloom
from vecloom.cli import run
from vecloom.errors import UsageError, VecloomError
from vecloom.notebook import SEED_MODELS, notebook


def cells(folder: Path, models: str, minutes: float) -> dict[str, str]:
    """The code of the notebook's cells, as the command writes it."""
    path = folder / "embed.ipynb"
    assert run(["notebook", "--out", str(path), "--models", models, "--minutes", str(minutes)]) == 0
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return {one["id"]: "".join(one["source"]) for one in found["cells"] if one["cell_type"] == "code"}


def session(
    place: Path,
    code: dict[str, str],
    environ: dict[str, str],
    names: tuple[str, ...] = ("settings", "embed", "archive"),
    python: str | Path = sys.executable,
) -> str:
    """Run cells in a process whose folder is ``place``; what they print."""
    (place / "dataset").mkdir(parents=True, exist_ok=True)
    (place / "dataset" / "notes.md").write_text("# Looms\n\nThe shuttle flies.\n", "utf-8")
    script = "\n".join(code[name] for name in names)
    environment = {**os.environ, **environ}
    done = subprocess.run(
        [python, "-"],
        input=script,
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_of_a_session(folder: Path) -> Path:
    """Python of a new environment that has pip and all that vecloom needs, as a session has much of it."""
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    Path(own, "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    return python


@pytest.fixture
def environ(tiny_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in tiny_environ.items():
        monkeypatch.setenv(name, value)
    return tiny_environ


def test_a_session_leaves_one_archive_that_is_loaded_at_home(tmp_path: Path, environ: dict[str, str]) -> None:
    code = cells(tmp_path, "minilm,bm25", 600)
    said = session(tmp_path / "kaggle", code, environ)
    assert "vecloom load pack.zip" in said and "goes on with: nothing" in said
    archive = tmp_path / "kaggle" / "pack.zip"
    assert run(["load", str(archive), "--to", str(tmp_path / "index")]) == 0
    assert run(["search", "shuttle", "--index", str(tmp_path / "index")]) == 0


def test_a_session_that_runs_out_of_time_goes_on_in_the_next(tmp_path: Path, environ: dict[str, str]) -> None:
    said = session(tmp_path / "one", cells(tmp_path, "minilm,bm25", 0), environ)
    assert "is not finished" in said
    following = tmp_path / "two"
    (following / "former").mkdir(parents=True)
    (tmp_path / "one" / "pack.zip").rename(following / "former" / "pack.zip")
    said = session(following, cells(tmp_path, "minilm,bm25", 600), environ)
    assert f"goes on with: {following / 'former' / 'pack.zip'}" in said
    assert f"dataset: {following / 'dataset'}\n" in said
    assert run(["load", str(following / "pack.zip"), "--to", str(tmp_path / "index")]) == 0


def test_in_one_folder_the_archive_goes_on_and_nothing_else_is_taken_for_data(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    place = tmp_path / "content"
    session(place, cells(tmp_path, "minilm,bm25", 0), environ)
    shutil.rmtree(place / "pack")
    (place / "sample_data").mkdir()
    (place / "embed.ipynb").write_text("{}", "utf-8")
    (place / "upload.md").write_text("# Heddles\n\nA heddle lifts a thread.\n", "utf-8")
    said = session(place, cells(tmp_path, "minilm,bm25", 600), environ)
    assert f"dataset: {place / 'dataset'} {place / 'upload.md'}\n" in said
    assert f"goes on with: {place / 'pack.zip'}" in said and "vecloom load pack.zip" in said


def test_without_a_dataset_the_notebook_says_so(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    script = cells(tmp_path, "minilm,bm25", 600)["settings"]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "empty", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "there is no dataset" in done.stderr


def test_every_cell_is_python_and_the_default_is_the_seeds_six() -> None:
    found = notebook(",".join(SEED_MODELS))
    for one in found["cells"][1:]:
        compile("".join(one["source"]), one["id"], "exec")
    assert len(SEED_MODELS) == 6 and ",".join(SEED_MODELS) in "".join(found["cells"][1]["source"])


def test_the_notebook_brings_the_vecloom_that_wrote_it(tmp_path: Path, environ: dict[str, str]) -> None:
    code = cells(tmp_path, "minilm,bm25", 600)
    assert [*code] == ["settings", "wheel", "install", "embed", "archive"]
    place, python = tmp_path / "kaggle", python_of_a_session(tmp_path / "session")
    place.mkdir()
    (place / "pip.py").write_text("raise SystemExit('a module of the dataset was run')", "utf-8")
    offline = {**environ, "PIP_NO_INDEX": "1"}
    said = session(place, code, offline, tuple(code), python)
    assert f"in {tmp_path / 'session'}" in said  # doctor says which vecloom runs
    assert "vecloom load pack.zip" in said
    assert run(["load", str(place / "pack.zip"), "--to", str(tmp_path / "index")]) == 0
    assert run(["search", "shuttle", "--index", str(tmp_path / "index")]) == 0


def test_a_damaged_wheel_is_not_installed(tmp_path: Path, environ: dict[str, str]) -> None:
    code = cells(tmp_path, "minilm,bm25", 600)
    digest = code["wheel"].partition("SHA256 = '")[2][:64]
    code["wheel"] = code["wheel"].replace(digest, digest[::-1])
    with pytest.raises(AssertionError, match="the wheel in this notebook is damaged"):
        session(tmp_path / "kaggle", code, environ, ("settings", "wheel"))


@pytest.mark.parametrize(
    "spec",
    [
        "git+https://example.org/vecloom.git",
        "vecloom @ https://example.org/vecloom-0.1.0-py3-none-any.whl",
        "/kaggle/input/wheels/vecloom-0.1.0-py3-none-any.whl",
        'it\'s "quoted" {requirements} \\n',
    ],
)
def test_another_vecloom_can_be_named_and_is_never_code(spec: str, vecloom: Vecloom, tmp_path: Path) -> None:
    assert vecloom("notebook", "--out", "embed.ipynb", "--install", spec).code == 0
    found = json.loads((tmp_path / "embed.ipynb").read_text("utf-8"))
    code = {one["id"]: "".join(one["source"]) for one in found["cells"]}
    assert "wheel" not in code
    values: dict[str, Any] = {}
    exec(code["install"].partition("# -P")[0], values)
    assert values["SPEC"] == spec
    assert [one.partition(">")[0] for one in values["WITH"]] == ["orjson", "pyarrow", "torch", "transformers"]


@pytest.mark.parametrize("spec", ["", " ", "-r requirements.txt", "--index-url=https://example.org", "a\nb"])
def test_what_is_no_requirement_is_refused(spec: str, vecloom: Vecloom, tmp_path: Path) -> None:
    done = vecloom("notebook", "--out", "embed.ipynb", "--install", spec)
    assert done.code == 2 and "--install takes one pip requirement" in done.err
    assert not (tmp_path / "embed.ipynb").exists()
    with pytest.raises(UsageError):
        notebook("minilm", install=spec)


def test_a_vecloom_without_metadata_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", find)
    for install in (None, "git+https://example.org/vecloom.git"):
        with pytest.raises(VecloomError, match="without being installed; install it first"):
            notebook("minilm", install=install)


def test_metadata_of_another_version_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecloom.repack.__version__", "99.0")
    with pytest.raises(VecloomError, match=r"installed as .* and is now 99\.0; install it again"):
        notebook("minilm")
