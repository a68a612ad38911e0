"""What can be evaluated: an index, a collection, or a pack, which is loaded for as long as that takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecloom import carry
from vecloom.config import Config
from vecloom.index import Index, Notice
from vecloom.pack.files import MANIFEST
from vecloom.pipeline.places import Place, folder_of, is_url
from vecloom.pipeline.report import Listener, quiet
from vecloom.weights import unheard


def is_pack(place: Place) -> bool:
    """Whether a place is a pack: its folder, or an archive of one."""
    return not is_url(place) and (folder_of(place).is_file() or (folder_of(place) / MANIFEST).is_file())


@contextmanager
def opened(
    place: Place,
    *,
    collection: str | None = None,
    device: str = "auto",
    config: Config,
    notice: Notice = unheard,
    listener: Listener = quiet,
) -> Iterator[Index]:
    """The index at ``place`` for this ``with`` block; of a pack, one that is gone afterwards.

    Raises:
        PackError: the pack is damaged, or not finished.
        IndexFormatError: there is no index.
        UsageError, StoreError, MissingExtraError: as for `vecloom.Index.open`.
    """
    if not is_pack(place):
        with Index.open(place, collection=collection, device=device, config=config, notice=notice) as index:
            yield index
        return
    with tempfile.TemporaryDirectory(prefix="vecloom-eval-") as folder:
        side = Path(folder) / "index"
        carry.load(folder_of(place), side, config=config, notice=notice, listener=listener)
        with Index.open(side, device=device, config=config, notice=notice) as index:
            yield index
