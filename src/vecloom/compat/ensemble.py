"""Vectors of several models made one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vecloom.compat.settings import EnsembleConfig
from vecloom.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHODS = ("weighted_average", "max_pooling", "concat")


def check_ensemble(dims: Mapping[str, int], config: EnsembleConfig) -> int:
    """The width of the vectors that ``config`` makes of models of these dimensions.

    Raises:
        UsageError: it cannot be done: no model, another method, dimensions that differ, or weights that do
            not belong to the models.
    """
    method = config.aggregation_method
    if method not in _METHODS:
        raise UsageError(f"no aggregation_method is called {method!r}; there are {', '.join(_METHODS)}")
    if not dims:
        raise UsageError("the ensemble has no model; name some in EnsembleConfig.ensemble_models")
    if method != "concat" and len(set(dims.values())) > 1:
        said = ", ".join(f"{name} {dim}" for name, dim in dims.items())
        raise UsageError(
            f"{method} needs models of one dimension ({said}); take aggregation_method='concat', which puts "
            "them side by side"
        )
    _weights(dims, config)
    return sum(dims.values()) if method == "concat" else next(iter(dims.values()))


def aggregate(matrices: Mapping[str, NDArray[np.float32]], config: EnsembleConfig) -> NDArray[np.float32]:
    """Matrices of rows of length 1 made one, float32 [texts, dim], its rows of length 1 too.

    weighted_average: the weighted mean. max_pooling: the largest of each place. concat: side by side, each
    times the root of its weight, so that a cosine is the weighted mean of the models' own.
    """
    import numpy as np

    weights = _weights(matrices, config)
    match config.aggregation_method:
        case "concat":
            parts = [matrix * np.float32(weights[name] ** 0.5) for name, matrix in matrices.items()]
            joined = np.concatenate(parts, axis=1)
        case "max_pooling":
            joined = np.maximum.reduce(list(matrices.values()))
        case _:
            joined = sum(
                (matrix * np.float32(weights[name]) for name, matrix in matrices.items()),
                start=np.zeros_like(next(iter(matrices.values()))),
            )
    lengths = np.linalg.norm(joined, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = joined / np.maximum(lengths, np.float32(1e-12))
    return scaled


def _weights(models: Mapping[str, object], config: EnsembleConfig) -> dict[str, float]:
    """A weight for each model, by name."""
    if config.model_weights is None:
        return dict.fromkeys(models, 1.0)
    given = dict(config.model_weights)
    if given.keys() != models.keys():
        odd = sorted(given.keys() ^ models.keys())
        raise UsageError(f"model_weights must name the ensemble's models, {', '.join(models)}; see to {odd}")
    if not all(0 <= weight < float("inf") for weight in given.values()) or not any(given.values()):
        raise UsageError(f"model_weights are finite, not below 0 and not all 0; not {given}")
    return given
