"""Model folders in the shapes that each library wants, all with the real MiniLM weights."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from bench import FOLDER

#: Tokens that every dense model sees of a text, special ones included.
LIMIT = 256

MODELS = FOLDER / "models"
TRANSFORMER = MODELS / "sentence-transformers"
FASTEMBED_DENSE = MODELS / "fastembed-minilm"
FASTEMBED_BM25 = MODELS / "fastembed-bm25"
FASTEMBED_BM42 = MODELS / "fastembed-bm42"
STATIC = MODELS / "static"

_TOKENIZER = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    "model_max_length": LIMIT,
    "max_length": LIMIT,
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}


def make_models() -> None:
    """Make the folders that are not there yet, from the weights that vecloom uses itself."""
    from vecloom.config import load_config
    from vecloom.weights import Weights

    config = load_config()
    weights = Weights(config).folder(config.registry().find("qdrant-minilm-onnx"))
    for folder, make in (
        (TRANSFORMER, _transformer),
        (FASTEMBED_DENSE, _fastembed_dense),
        (FASTEMBED_BM25, _fastembed_bm25),
        (FASTEMBED_BM42, _fastembed_bm42),
        (STATIC, _static),
    ):
        if folder.exists():
            continue
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(weights, part)
        part.replace(folder)


def _transformer(weights: Path, folder: Path) -> None:
    """For transformers, txtai and sentence-transformers: files as the hub has them."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(weights / name, folder)
    _tokenizer(weights, folder)
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    _write(
        folder / "modules.json",
        [
            {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for name, path, kind in modules
        ],
    )
    _write(folder / "sentence_bert_config.json", {"max_seq_length": LIMIT, "do_lower_case": False})
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    )


def _fastembed_dense(weights: Path, folder: Path) -> None:
    """The ONNX export that FastEmbed runs: the last hidden state; it pools by itself."""
    shutil.copy(weights / "config.json", folder)
    _tokenizer(weights, folder)
    export_bert(weights, folder / "model.onnx")


def _fastembed_bm42(weights: Path, folder: Path) -> None:
    """The same with the last layer's attention beside it, and the stop words."""
    shutil.copy(weights / "config.json", folder)
    _tokenizer(weights, folder)
    export_bert(weights, folder / "model.onnx", attention=True)
    _stop_words(folder / "stopwords.txt")


def export_bert(weights: Path, path: Path, *, attention: bool = False) -> None:
    """A BERT as ONNX, by the exporter that the hub's files come from.

    Output ``last_hidden_state``, and with ``attention`` also ``attention_6``, the last of six layers', as the
    hub's BM42 has it.
    """
    import torch
    from transformers import BertModel

    def forward(self: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return (out.last_hidden_state, out.attentions[-1]) if attention else out.last_hidden_state

    # Made by type(), because a class statement over an untyped base is no class to mypy.
    export = type("Export", (torch.nn.Module,), {"forward": forward})()
    export.model = BertModel.from_pretrained(
        weights, attn_implementation="eager", output_attentions=attention, add_pooling_layer=False
    ).eval()
    ids = torch.ones(2, 8, dtype=torch.long)
    mask = ids.clone()
    mask[1, 6:] = 0  # a padded row, so that the mask is traced
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in (*names, "last_hidden_state")}
    if attention:
        axes["attention_6"] = {0: "batch", 2: "tokens", 3: "others"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of itself and of what it traces
        torch.onnx.export(
            export,
            (ids, mask, torch.zeros_like(ids)),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=names,
            output_names=[name for name in axes if name not in names],
            dynamic_axes=axes,
        )


def _fastembed_bm25(_weights: Path, folder: Path) -> None:
    _write(folder / "config.json", {})
    _stop_words(folder / "english.txt")


def _static(weights: Path, folder: Path) -> None:
    """A static model of the size of semble's own, whose weights only the hub has: good for timing alone."""
    from model2vec import StaticModel
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    vectors = load_file(weights / "model.safetensors")["embeddings.word_embeddings.weight"][:, :256]
    StaticModel(
        vectors, Tokenizer.from_file(str(weights / "tokenizer.json")), normalize=True
    ).save_pretrained(folder)


def _stop_words(path: Path) -> None:
    from vecloom.encoders.stopwords import stopwords

    path.write_text("\n".join(sorted(stopwords("english"))), "utf-8")


def _tokenizer(weights: Path, folder: Path) -> None:
    """The tokenizer without the lengths that its file carries, and the length to cut at beside it."""
    said = json.loads((weights / "tokenizer.json").read_text("utf-8"))
    _write(folder / "tokenizer.json", {**said, "truncation": None, "padding": None})
    _write(folder / "tokenizer_config.json", _TOKENIZER)
    _write(
        folder / "special_tokens_map.json",
        {key: value for key, value in _TOKENIZER.items() if str(key).endswith("_token")},
    )


def _write(path: Path, said: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said), "utf-8")


if __name__ == "__main__":
    make_models()
