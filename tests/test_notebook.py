"""The notebook for borrowed GPUs: its cells are run, as a session would, and its archive is carried home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vecloom.cli import run
from vecloom.notebook import SEED_MODELS, notebook


def cells(folder: Path, models: str, minutes: float) -> dict[str, str]:
    """The code of the notebook's cells, as the command writes it."""
    path = folder / "embed.ipynb"
    assert run(["notebook", "--out", str(path), "--models", models, "--minutes", str(minutes)]) == 0
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return {one["id"]: "".join(one["source"]) for one in found["cells"] if one["cell_type"] == "code"}


def session(place: Path, code: dict[str, str], environ: dict[str, str]) -> str:
    """Run the cells in a process whose folder is ``place``; what they print. vecloom is installed already."""
    (place / "dataset").mkdir(parents=True, exist_ok=True)
    (place / "dataset" / "notes.md").write_text("# Looms\n\nThe shuttle flies.\n", "utf-8")
    script = "\n".join(code[name] for name in ("settings", "embed", "archive"))
    environment = {**os.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


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
