"""How a model pools, as its own files tell sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vecloom.errors import WeightsError
from vecloom.registry import Pooling

_FILE = "1_Pooling/config.json"

#: sentence-transformers' name of a pooling -> ours.
_NAMES: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}

#: Its older form: one switch for each.
_SWITCHES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


def published_pooling(folder: Path, key: str) -> Pooling:
    """The pooling that ``1_Pooling/config.json`` of a model says.

    Raises:
        WeightsError: there is no such file, or it says another pooling than those that there are.
    """
    path = folder / _FILE
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        on = [name for name, value in said.items() if name.startswith("pooling_mode_") and value is True]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{str(path)!r} does not say how {key} pools ({error}); give it a row of your own: "
            f'[models."{key}"] in the config file'
        ) from error
    pooling = _NAMES.get(str(said.get("pooling_mode"))) or (_SWITCHES.get(on[0]) if len(on) == 1 else None)
    if pooling is None:
        raise WeightsError(
            f"{str(path)!r} says {said.get('pooling_mode') or on or 'no pooling'}; vecloom pools by "
            f"{', '.join(_NAMES)}"
        )
    return pooling
