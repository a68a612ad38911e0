"""Torch files to safetensors, once: such a file is a pickle, and unpickling can run code.

It is loaded with ``weights_only=True`` in a process of its own, which takes tensors and nothing else, and
never again.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from vecloom.errors import MissingExtraError, WeightsError
from vecloom.processes import child_environment, python_command


def to_safetensors(source: Path, target: Path) -> None:
    """Convert ``source`` (a torch file, or the index of several) to ``target``, whole or not at all.

    Raises:
        MissingExtraError: PyTorch is not installed.
        WeightsError: the file holds something else than tensors by name.
    """
    if source.suffix == ".json":
        try:
            said = json.loads(source.read_text("utf-8"))
            said["weight_map"] = {name: safe_name(file) for name, file in said["weight_map"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(f"{source} is no index of torch files ({error}); fetch it again") from error
        target.write_text(json.dumps(said), "utf-8")
        return
    if find_spec("torch") is None:
        raise MissingExtraError(f"converting {source.name}", "torch")
    command = python_command("vecloom.weights.convert", str(source), str(target), str(os.getpid()))
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env=child_environment()
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise WeightsError(f"{source.name} cannot be converted: {said[:300]}")


def safe_name(torch_name: str) -> str:
    """The name of a torch file once it is converted, as transformers looks for it."""
    return torch_name.replace("pytorch_model", "model").replace(".bin", ".safetensors")


def main(arguments: Sequence[str]) -> int:
    """Convert the file that the first argument names to the second."""
    import torch
    from safetensors.torch import save_file

    from vecloom.processes import die_with

    source, target, parent = arguments
    die_with(int(parent))
    try:
        said = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        sys.stderr.write(f"it is damaged, or holds more than tensors ({str(error).splitlines()[0]})\n")
        return 1
    if not isinstance(said, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in said.values()):
        sys.stderr.write("it holds something else than tensors by name\n")
        return 1
    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, tensor in said.items():
        shared = tensor.untyped_storage().data_ptr() in storages  # which safetensors refuses
        storages.add(tensor.untyped_storage().data_ptr())
        tensors[str(name)] = tensor.detach().clone() if shared else tensor.detach().contiguous()
    part = Path(f"{target}.part")
    save_file(tensors, part, metadata={"format": "pt"})
    part.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
