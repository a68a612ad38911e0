"""Which encoders serve a choice of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vecloom.encoders import Encoder
from vecloom.encoders.bert import BertEncoder
from vecloom.encoders.bm25 import Bm25Encoder
from vecloom.errors import UsageError
from vecloom.registry import ModelSpec


def load_encoders(
    specs: Sequence[ModelSpec], folder_of: Callable[[ModelSpec], Path], cache_dir: Path, threads: int
) -> list[Encoder]:
    """One encoder for each pass that the rows need, in the order of their first rows.

    Rows of one ``shared_pass``, with the same weights and the same length, come out of one forward.
    ``folder_of`` gives the folder of a row's files and is called once a pass that has files; built graphs
    are kept in ``cache_dir``; ``threads`` runs of a model go on at a time.

    Raises:
        UsageError: a row whose backend this version does not have.
        WeightsError: a model's files cannot be had.
    """
    passes: dict[object, list[ModelSpec]] = {}
    for spec in specs:
        check_backend(spec)
        passes.setdefault(_pass_of(spec), []).append(spec)
    return [
        Bm25Encoder(rows[0])
        if "native" in rows[0].backends
        else BertEncoder(rows, folder_of(rows[0]), cache_dir, threads)
        for rows in passes.values()
    ]


def _pass_of(spec: ModelSpec) -> object:
    return spec.shared_pass or spec.key, spec.weights or spec.hub_id, spec.recommended_tokens, spec.max_tokens


def check_backend(spec: ModelSpec) -> None:
    """Refuse a row that this version cannot encode with.

    Raises:
        UsageError: it needs another backend.
    """
    if "native" in spec.backends and spec.kind == "sparse":
        return
    if "onnx" in spec.backends and spec.kind in ("dense", "sparse"):
        return
    raise UsageError(
        f"{spec.key} ({spec.kind}) needs the backend {' or '.join(spec.backends)}, which is not built yet in "
        "this version; choose models that run on onnx or native: vecloom models list"
    )
