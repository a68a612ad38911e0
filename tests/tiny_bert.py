"""A tiny random BERT in the files of a real one, and the same as other libraries want it."""

from __future__ import annotations

import json
import shutil
import string
import warnings
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, HEADS, POSITIONS = 24, 3, 4, 64
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the",
    "open",
    "opening",
    "opens",
    "connection",
    "connect",
    "retry",
    "running",
    "run",
    "not",
    "config",
)


def vocabulary() -> list[str]:
    """Written by rule: every printable character alone and as a continuation, some words, some endings."""
    letters = [c for c in string.printable if not c.isspace() and not c.isupper()]
    endings = ("##ing", "##ed", "##s", "##tion")
    return [*SPECIALS, *letters, *(f"##{c}" for c in letters), *WORDS, *endings]


def write_tokenizer(folder: Path) -> None:
    """``tokenizer.json`` with the truncation and padding that real ones carry, and what goes with it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = {piece: number for number, piece in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))


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


def make_fastembed_folder(
    folder: Path, model_folder: Path, stop_words: str, limit: int, attention: bool
) -> Path:
    """What FastEmbed's ``specific_model_path`` takes: an export of the model, cut at ``limit``."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(
        model_folder, attn_implementation="eager" if attention else None, output_attentions=attention
    )

    def forward(self: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return out.attentions[-1] if attention else out.last_hidden_state

    # Made by type(), because a class statement over an untyped base is no class to mypy.
    export = type("Export", (torch.nn.Module,), {"forward": forward})()
    export.model = model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    ids = torch.arange(18).reshape(2, 9) + 5
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0  # a padded row, so that the mask is traced
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    output = "attention_6" if attention else "last_hidden_state"
    axes = {name: {0: "batch", 1: "tokens"} for name in inputs}
    axes[output] = {0: "batch", 2: "tokens", 3: "others"} if attention else {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of what it traces
        torch.onnx.export(
            export,
            (ids, mask, torch.zeros_like(ids)),
            str(folder / "model.onnx"),
            input_names=inputs,
            output_names=[output],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(model_folder / name, folder / name)
    limits = {"model_max_length": limit, "max_length": limit, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(limits))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    (folder / "stopwords.txt").write_text(stop_words)
    return folder
