"""A tiny random BERT in the files of a real one, and what transformers makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.standins import vocabulary, write_tokenizer

HIDDEN, LAYERS, HEADS, POSITIONS = 24, 3, 4, 64


def make_tiny_bert(folder: Path, **config: Any) -> Path:
    """Random weights, large enough for attention and GELU to matter; ``config`` overrides sizes."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "vocab_size": len(vocabulary()),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 40,
        "max_position_embeddings": POSITIONS,
    }
    torch.manual_seed(7)
    model = BertModel(BertConfig(**(sizes | config)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def reference(folder: Path, ids: list[list[int]]) -> tuple[list[Any], list[Any]]:
    """transformers' own last hidden states and last layer's [CLS] attention (mean over heads), by text."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    hidden, attention = [], []
    with torch.no_grad():
        for row in ids:
            out = model(input_ids=torch.tensor([row]), output_attentions=True)
            hidden.append(out.last_hidden_state[0].numpy())
            attention.append(out.attentions[-1][0, :, 0].mean(0).numpy())
    return hidden, attention
