"""The rows of a matrix that are nearest to a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def cosines(matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each row with a vector, float32 [rows]; 0 where a row is all 0."""
    import numpy as np

    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    found: NDArray[np.float32] = matrix @ vector / np.maximum(lengths, np.float32(1e-12))
    return found


def best(scores: NDArray[np.float32], count: int) -> list[int]:
    """The places of the highest scores, highest first; of equal ones the first."""
    import numpy as np

    ordered: list[int] = np.argsort(-scores, kind="stable")[: max(0, count)].tolist()
    return ordered
