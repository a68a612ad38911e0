"""The speed of one core: GFLOP/s of an fp32 matrix product, best of some. ``python -m bench.floor``."""

from __future__ import annotations

import time

import numpy as np

_SIDE, _TIMES = 1536, 12


def gflops() -> float:
    """Measure by the CPU's clock, so that a core shared with others is not taken for a slow one."""
    draw = np.random.default_rng(0)
    one, other = (draw.normal(size=(_SIDE, _SIDE)).astype(np.float32) for _ in range(2))
    best = min(_seconds(one, other) for _ in range(_TIMES))
    return 2 * _SIDE**3 / best / 1e9


def _seconds(one: np.ndarray, other: np.ndarray) -> float:
    start = time.process_time()
    one @ other
    return time.process_time() - start


if __name__ == "__main__":
    print(gflops())
