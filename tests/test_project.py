"""The public surface, and what a command may import: names and modules, not seconds."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vecloom
from vecloom import errors

#: Import times in ms here: numpy 70, onnxruntime 100, transformers seconds.
HEAVY = (
    "docx",
    "huggingface_hub",
    "numpy",
    "onnx",
    "onnxruntime",
    "pypdf",
    "qdrant_client",
    "qdrant_edge",
    "rich.progress",
    "tokenizers",
    "torch",
    "tree_sitter",
)


def loaded_after(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport sys; print('loaded:', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.rpartition("loaded:")[2].split())


def test_the_public_names_are_these() -> None:
    assert sorted(vecloom.__all__) == [
        "Config",
        "Encoding",
        "Hit",
        "How",
        "Index",
        "IndexReport",
        "IndexStatus",
        "LegHit",
        "LoadReport",
        "Progress",
        "Reranker",
        "TextEncoder",
        "VecloomError",
        "__version__",
        "embed",
        "encode_texts",
        "export",
        "generate_sparse_vectors",
        "load",
        "load_config",
    ]
    for name in vecloom.__all__:
        assert getattr(vecloom, name).__class__.__name__ != "module"
    with pytest.raises(AttributeError, match="nothing"):
        vecloom.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import vecloom") & {*HEAVY, "typer"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["index", "--help"],
        ["search", "--help"],
        ["models", "--help"],
        ["eval", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded = loaded_after(f"from vecloom.cli import run; assert run({arguments!r}) == 0")
    assert not loaded & set(HEAVY)


def test_a_search_loads_no_builder_and_no_parser(tiny_environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("some words\n", "utf-8")
    index = str(tmp_path / "index")
    calls = [["index", str(tmp_path / "tree"), "--index", index], ["search", "words", "--index", index]]
    setup = f"import os; os.environ.update({tiny_environ!r}); from vecloom.cli import run; "
    for call in calls:  # the first search builds the graph that later ones read
        loaded_after(setup + f"assert run({call!r}) == 0")
    loaded = loaded_after(setup + f"assert run({calls[1]!r}) == 0")
    assert "onnxruntime" in loaded
    unwanted = ("onnx", "torch", "transformers", "qdrant_client", "tree_sitter", "huggingface_hub")
    assert [module for module in unwanted if module in loaded] == []


def test_every_error_has_one_base_and_an_exit_code() -> None:
    raised = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    conditions = [error for error in raised if issubclass(error, errors.VecloomError)]
    assert conditions == raised
    assert {error.exit_code for error in conditions} == {1, 2}
    drawn = errors.__doc__ or ""
    assert all(error.__name__ in drawn for error in conditions)


def test_every_module_can_be_imported() -> None:
    for module in pkgutil.walk_packages(vecloom.__path__, "vecloom."):
        if module.name != "vecloom.__main__":
            importlib.import_module(module.name)


def test_onnxruntime_sends_nothing_to_its_makers(tmp_path: Path) -> None:
    code = (
        "from vecloom.encoders.pretrained import import_onnxruntime\n"
        "import_onnxruntime().get_available_providers()\n"
    )
    known = ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environ = {name: value for name, value in os.environ.items() if name not in known}
    environ["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert list(tmp_path.rglob("*")) == []
    sources = [path.read_text("utf-8") for path in Path(vecloom.__file__).parent.rglob("*.py")]
    assert sum(text.count("    import onnxruntime\n") for text in sources) == 1, "only where it is silenced"
