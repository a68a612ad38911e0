"""A model's files: ``config.json``, and tensors of ``.safetensors`` files, which are mapped and not read.

Mapped files are shared by processes, and free where unused.

Format: eight bytes of header length (little endian), a JSON header of name -> dtype, shape and byte offsets,
then the data (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecloom.errors import WeightsError

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "F64": np.dtype("<f8"),
}

#: Checkpoints of a model with a head hold the encoder's tensors under this prefix.
_HEADED = "bert."


@dataclass(frozen=True, slots=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """A mapped file. ``sizes`` tells the shape of every tensor, by its name without the prefix ``bert.``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
            self._tensors = dict(self._entries())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WeightsError(
                f"{str(path)!r} is no safetensors file ({error}); pull the model again"
            ) from error
        self.sizes: Mapping[str, tuple[int, ...]] = {name: t.shape for name, t in self._tensors.items()}

    def _entries(self) -> list[tuple[str, _Tensor]]:
        data = self._data
        length = int(data[:8].view("<u8")[0])
        header: Mapping[str, Any] = json.loads(data[8 : 8 + length].tobytes())
        base = 8 + length
        entries = []
        for name, said in header.items():
            if name == "__metadata__":
                continue
            start, end = said["data_offsets"]
            entry = _Tensor(said["dtype"], tuple(said["shape"]), base + start, base + end)
            if not base <= entry.start <= entry.end <= len(data):
                raise ValueError(f"{name} ends behind the end of the file")
            entries.append((name.removeprefix(_HEADED), entry))
        return entries

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32: a view where it is stored so.

        Raises:
            WeightsError: it is stored in a type that NumPy lacks, or its bytes do not fit its shape.
        """
        tensor = self._tensors[name]
        dtype = _DTYPES.get(tensor.dtype)
        if dtype is None or (tensor.end - tensor.start) != math.prod(tensor.shape) * dtype.itemsize:
            raise WeightsError(
                f"{str(self._path)!r}: {name} is {tensor.dtype} of {tensor.end - tensor.start} bytes, "
                f"which is not {list(tensor.shape)} of {' or '.join(_DTYPES)}; convert the weights to F32"
            )
        stored = self._data[tensor.start : tensor.end].view(dtype).reshape(tensor.shape)
        return np.asarray(stored, dtype=np.float32)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model.

    Raises:
        WeightsError: it cannot be read.
    """
    path = folder / "config.json"
    try:
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{str(path)!r} cannot be read ({error}); pull the model again") from error
    return said
