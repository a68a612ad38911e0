"""Files from the hub (or a mirror, or a cache of it), through huggingface_hub."""

from __future__ import annotations

import hashlib
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec
from vecloom.weights.cache import PART, Shelf
from vecloom.weights.origin import FileRecord, Origin, check_hashes, convert_all, sources_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

#: The hub has this long to say what a repository holds, name look-up and every address tried included.
ANSWER_SECONDS = 5.0

#: Names the folder of a snapshot, in that cache and on the shelf.
_is_snapshot_name = re.compile(r"[0-9A-Za-z]{1,64}").fullmatch

T = TypeVar("T")

_is_commit = re.compile(r"[0-9a-f]{40}").fullmatch


@dataclass(frozen=True, slots=True)
class Listed:
    """What the hub says of a file: ``sha256`` of a large one, ``git_sha1`` (of the blob) of a small one."""

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None

    def fits(self, path: Path, record: FileRecord) -> bool:
        """Whether the downloaded file is the one that the hub listed."""
        if self.sha256 is not None:
            return record.sha256 == self.sha256
        if self.git_sha1 is not None:
            return _git_sha1(path) == self.git_sha1
        return self.size in (None, record.size)


def fetch(spec: ModelSpec, shelf: Shelf, notice: Callable[[str], None], convert: bool = False) -> Path:
    """Fetch the row's files onto the shelf and give their folder.

    The row's revision is asked for; without one the default branch, once: its commit is recorded, and
    whatever is fetched later must come from that commit and hash alike. ``HF_ENDPOINT``, ``HF_TOKEN`` and
    ``HF_HUB_OFFLINE`` mean what they mean to huggingface_hub. Where the hub does not answer, or must not be
    asked, files are taken from huggingface_hub's own cache, if they are those of the row. Torch files that
    the row names, or any with ``convert``, are converted to safetensors.

    Raises:
        WeightsError: the hub cannot be reached or refuses, or its files are not those of the row.
    """
    repo = spec.weights or spec.hub_id
    if repo is None:
        raise WeightsError(f"the row {spec.key} names no repository")
    recorded = shelf.recorded(spec)
    revision = recorded.commit if recorded else spec.revision
    api = _api()
    try:
        commit, listing = _listing(api, repo, revision, recorded)
    except WeightsError as refused:
        found_folder = _from_cache(spec, shelf, repo, revision, recorded, notice, convert)
        if found_folder is None:
            raise refused
        return found_folder
    known = recorded.converted if recorded else {}
    sources = sources_of(spec, listing, f"{repo} at {commit[:12]}", convert=convert or bool(known))
    if recorded:  # another row of these weights may have asked for more files
        more = {name: known[name][0] if name in known else name for name in recorded.files}
        sources = {name: source for name, source in more.items() if source in listing} | sources
    size = sum(listing[source].size or 0 for source in sources.values())
    notice(f"fetching {repo} ({size / 1e6:.1f} MB) from {api.endpoint}")
    part = shelf.part(commit)  # what an earlier try left there whole is not loaded again
    found = {
        name: _download(api, repo, commit, source, listing[source], part) for name, source in sources.items()
    }
    converted = convert_all(part, sources)
    found |= {name: FileRecord.of(part / name) for name in converted}
    check_hashes(spec, found, repo)
    if recorded:
        _check_recorded(recorded, found)
    shutil.rmtree(part / ".cache", ignore_errors=True)
    asked = recorded.asked if recorded else spec.revision
    return shelf.place(part, Origin("hub", repo, asked, commit, found, converted))


def _from_cache(
    spec: ModelSpec,
    shelf: Shelf,
    repo: str,
    revision: str | None,
    recorded: Origin | None,
    notice: Callable[[str], None],
    convert: bool,
) -> Path | None:
    """Put the row's files from huggingface_hub's own cache on the shelf; None where it does not hold them.

    The files must be those that the row names, or that the first pull recorded, by their sha256.

    Raises:
        WeightsError: a torch file that cannot be converted.
    """
    for snapshot in _snapshots(repo, revision):
        there = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        known = recorded.converted if recorded else {}
        try:
            sources = sources_of(spec, there, str(snapshot), convert=convert or bool(known))
            if recorded:
                more = {name: known[name][0] if name in known else name for name in recorded.files}
                sources = {name: source for name, source in more.items() if source in there} | sources
            part = shelf.part(snapshot.name, fresh=True)
            for source in set(sources.values()):
                (part / source).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy((snapshot / source).resolve(), part / source)
            found = {name: FileRecord.of(part / name) for name, source in sources.items() if name == source}
            converted = convert_all(part, sources)
            found |= {name: FileRecord.of(part / name) for name in converted}
            check_hashes(spec, found, str(snapshot))
            if recorded:
                _check_recorded(recorded, found)
        except (WeightsError, OSError) as refused:
            shutil.rmtree(shelf.root / f"{PART}{snapshot.name}", ignore_errors=True)
            notice(f"{snapshot} is not used: {refused}")
            continue
        notice(f"taking {repo} from {snapshot}")
        asked = recorded.asked if recorded else spec.revision
        return shelf.place(part, Origin("hub", repo, asked, snapshot.name, found, converted))
    return None


def _snapshots(repo: str, revision: str | None) -> Iterator[Path]:
    """The folders of huggingface_hub's cache that may hold a revision: a commit, a branch or tag, or any.

    Without a revision the default branch comes first, and then the other commits, the newest first.
    """
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    snapshots = home / "snapshots"
    try:
        commit = (home / "refs" / (revision or "main")).read_text("utf-8").strip()
    except (OSError, ValueError):
        commit = revision or ""
    if _is_snapshot_name(commit) and (snapshots / commit).is_dir():
        yield snapshots / commit
    if revision is None and snapshots.is_dir():
        others = [
            path for path in snapshots.iterdir() if _is_snapshot_name(path.name) and path.name != commit
        ]
        yield from sorted(others, key=lambda path: -path.stat().st_mtime)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where there can be none, as on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _api() -> HfApi:
    from huggingface_hub import HfApi, constants

    # Else it tells the hub what runs it, and first asks there for a list of names to tell.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # huggingface_hub reads HF_ENDPOINT when it is imported, which may be long before.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="vecloom")


def _listing(
    api: HfApi, repo: str, revision: str | None, recorded: Origin | None
) -> tuple[str, Mapping[str, Listed]]:
    """The commit that ``revision`` is, and the files of that commit."""
    from huggingface_hub.errors import RevisionNotFoundError

    what = f"{repo} at {api.endpoint}"

    def ask() -> tuple[str, Mapping[str, Listed]]:
        with _refusals(what):
            info = api.model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)
            if info.sha is None:
                raise ValueError("the answer names no commit")
            if not isinstance(info.sha, str) or _is_commit(info.sha) is None:  # it becomes a folder's name
                raise ValueError(
                    f"the answer names the commit {info.sha!r:.60}, which is none; do not use it"
                )
            return info.sha, {file.rfilename: _listed(file) for file in info.siblings or ()}

    try:
        return _within(ANSWER_SECONDS, ask, what)
    except WeightsError as refused:
        if recorded and isinstance(refused.__cause__, RevisionNotFoundError):
            raise WeightsError(
                f"{repo} no longer has commit {recorded.commit}, which the first pull of "
                f"{recorded.asked or 'its default branch'} recorded; to take another, name it as revision"
            ) from refused
        raise


def _listed(file: RepoSibling) -> Listed:
    listed = Listed(file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
    if not isinstance(file.rfilename, str) or not isinstance(listed.size, int | None):
        raise ValueError(f"the answer lists {file.rfilename!r:.60} with {listed.size!r:.20} bytes")
    return listed


def _download(api: HfApi, repo: str, commit: str, name: str, listed: Listed, part: Path) -> FileRecord:
    """One file into ``part``; a copy that is not what the hub listed is fetched once more."""
    for again in (False, True):
        with _refusals(f"{name} of {repo} at {api.endpoint}"):
            path = Path(
                api.hf_hub_download(
                    repo,
                    name,
                    revision=commit,
                    local_dir=part,
                    force_download=again,
                    etag_timeout=ANSWER_SECONDS,
                )
            )
        record = FileRecord.of(path)
        if listed.fits(path, record):
            return record
    raise WeightsError(f"{name} of {repo} arrived damaged twice: it is not the file that the hub lists")


def _check_recorded(recorded: Origin, found: Mapping[str, FileRecord]) -> None:
    changed = [
        name for name, record in found.items() if name in recorded.files and record != recorded.files[name]
    ]
    if changed:
        raise WeightsError(
            f"{', '.join(changed)} of {recorded.name} at {recorded.commit} changed since the first pull"
        )


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Give what goes wrong between here and the hub as one line."""
    import httpx
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, XetDownloadError

    try:
        yield
    except OfflineModeIsEnabled as problem:
        raise WeightsError("HF_HUB_OFFLINE is set") from problem
    except GatedRepoError as problem:
        raise WeightsError(f"{what} wants its licence accepted there, and HF_TOKEN set") from problem
    except (KeyError, TypeError, AttributeError, RecursionError) as problem:  # of huggingface_hub
        raise WeightsError(f"{what}: the answer is not one of a hub ({type(problem).__name__})") from problem
    except (httpx.HTTPError, OSError, ValueError, XetDownloadError) as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise WeightsError(f"{what}: {reason[:200]}") from problem


def _within(seconds: float, ask: Callable[[], T], what: str) -> T:
    """What ``ask`` gives; its WeightsError, or one of ours when it takes longer.

    A name look-up, or a row of addresses that do not answer, has no time limit of its own: a call that takes
    longer is left behind in a daemon thread.
    """
    answers: queue.SimpleQueue[T | WeightsError] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except WeightsError as refused:
            answers.put(refused)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise WeightsError(f"{what}: no answer within {seconds:.0f} s") from None
    if isinstance(answer, WeightsError):
        raise answer
    return answer


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
