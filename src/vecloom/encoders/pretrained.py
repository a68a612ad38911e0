"""Models of transformers' own classes, with the weights of a folder; never code of a repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecloom.errors import DeviceError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    import torch

DTYPE_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}

#: Keys of nomic-bert-2048's own code, whose place in transformers' class is another.
_LEGACY = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
}


def load_pretrained(
    auto: str,
    folder: Path,
    config: Mapping[str, Any],
    precision: str,
    attention: str,
    unused: tuple[str, ...] = (),
) -> torch.nn.Module:
    """A model of transformers' own class, with the safetensors of a folder.

    ``auto``: which of transformers' Auto classes picks it. ``unused``: how the names of tensors begin that
    may be missing.

    Raises:
        WeightsError: the files cannot be read, lack a tensor, or tell of no architecture of transformers.
        MissingExtraError: PyTorch or transformers is not installed.
    """
    transformers = import_transformers()
    from safetensors import SafetensorError

    try:
        model, told = getattr(transformers, auto).from_pretrained(
            folder,
            config=native_config(config),
            dtype=dtype_of(precision),
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = " ".join(str(error).split())[:300]
        raise WeightsError(f"the model in {str(folder)!r} cannot be loaded: {said}") from error
    missing = sorted(name for name in told["missing_keys"] if not name.startswith(unused))
    if missing:
        raise WeightsError(
            f"{str(folder)!r} lacks {len(missing)} tensors, {missing[0]!r} the first; pull the model again"
        )
    return model


def moved(model: torch.nn.Module, folder: Path, device: str) -> torch.nn.Module:
    """The model of a folder on a device, ready to run.

    Raises:
        DeviceError: it does not fit there.
    """
    torch = import_torch()
    try:
        return model.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError:
        raise DeviceError(
            f"the model in {str(folder)!r} does not fit the free memory of {device}; end what else runs "
            "there, or take another --device (cpu has room)"
        ) from None


def native_config(said: Mapping[str, Any]) -> Any:
    """The config as transformers takes it; keys of nomic-bert-2048's own code get their names there.

    Its class ignores those keys, so that only a model of its default size would load.
    """
    transformers = import_transformers()
    from huggingface_hub.errors import StrictDataclassError

    said = {name: value for name, value in said.items() if name != "auto_map"}
    if said.get("model_type") == "nomic_bert":
        renamed = {_LEGACY[name]: said[name] for name in _LEGACY if said.get(name) is not None}
        said |= {name: value for name, value in renamed.items() if name not in said}
        if "rotary_emb_base" in said and "rope_parameters" not in said:
            said["rope_parameters"] = {"rope_type": "default", "rope_theta": float(said["rotary_emb_base"])}
        said = {name: value for name, value in said.items() if name not in (*_LEGACY, "rotary_emb_base")}
    model_type = said.pop("model_type", None)
    if model_type not in transformers.CONFIG_MAPPING:
        raise WeightsError(
            f"no architecture of transformers is called {model_type!r}, and code of repositories is never "
            "run; take another model"
        )
    said["use_cache"] = False  # keys and values of earlier tokens are for those who write on
    try:
        return transformers.AutoConfig.for_model(model_type, **said)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        why = " ".join(str(error).split())[:300]
        raise WeightsError(f"config.json is none of {model_type!r} ({why}); correct it") from error


def dtype_of(precision: str) -> torch.dtype:
    """A precision as PyTorch names it."""
    torch = import_torch()
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def import_onnxruntime() -> Any:
    """The ``onnxruntime`` module, which by itself sends to Microsoft what it runs (from 1.29 on).

    The variable must be set before the module is imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_torch() -> Any:
    """The module ``torch``.

    Raises:
        MissingExtraError: it is not installed.
        DeviceError: it is, and cannot be loaded.
    """
    try:
        import torch
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        raise MissingExtraError("a model on PyTorch", "torch") from None
    except (ImportError, OSError) as error:
        raise DeviceError(f"PyTorch is installed and cannot be loaded ({error}); install it anew") from error
    return torch


def import_transformers() -> Any:
    """The module ``transformers``, silent.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingExtraError("a model on PyTorch", "torch") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
