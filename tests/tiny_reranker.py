"""Tiny cross-encoders, their ONNX exports, and what sentence-transformers makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def reference(folder: Path, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """sentence-transformers' scores of pairs cut at 128 tokens, before any activation."""
    import torch
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(folder), device="cpu", max_length=128, activation_fn=torch.nn.Identity())
    return np.asarray(peer.predict([(query, text) for text in texts]))


def export_reranker(folder: Path, path: Path) -> None:
    """The model in ``folder`` as ONNX with the output ``logits`` [batch, labels], like the hub's files."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    names = ["input_ids", "attention_mask"]
    if model.config.type_vocab_size > 1:
        names.append("token_type_ids")

    def forward(self: Any, *inputs: Any) -> Any:
        return self.model(**dict(zip(names, inputs, strict=True))).logits

    # Made by type(), because a class statement over an untyped base is no class to mypy.
    export = type("Export", (torch.nn.Module,), {"forward": forward})()
    export.model = model
    ids = torch.full((2, 8), 5, dtype=torch.long)
    inputs = (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(names)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of what it traces
        torch.onnx.export(
            export,
            inputs,
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
        )
