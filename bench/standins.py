"""Random models of every architecture of the registry, in the files of real ones: tiny, or of any size.

Vocabularies are written by rule and weights drawn from a fixed seed: they say nothing about retrieval, and
all about whether two libraries do the same sums.
"""

from __future__ import annotations

import json
import shutil
import string
from pathlib import Path
from typing import Any

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
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))


#: Parameters from which NumPy would take minutes.
_LARGE = 50_000_000

#: The width of the large models' stand-ins, and where it may be cut.
WIDTH = 64
CUTS = (8, 16, 32, 64)


def make_qwen(folder: Path, **config: Any) -> Path:
    """jina-code: a causal decoder with grouped heads, rotary positions and a byte-level BPE."""
    from transformers import Qwen2Config, Qwen2Model

    folder.mkdir(parents=True, exist_ok=True)
    pad = write_byte_bpe(folder)
    sizes = {
        "vocab_size": pad + 1,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "pad_token_id": pad,
    }
    return _save(Qwen2Model(Qwen2Config(**(sizes | config))), folder)


def make_mistral(folder: Path, **config: Any) -> Path:
    """e5-mistral: a causal decoder with a sliding window, and a tokenizer that begins texts and ends none."""
    from tokenizers import Tokenizer, processors
    from transformers import MistralConfig, MistralModel

    folder.mkdir(parents=True, exist_ok=True)
    pad = write_byte_bpe(folder)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", pad + 1)]
    )
    tokenizer.save(path)
    sizes = {
        "vocab_size": pad + 3,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "sliding_window": 24,
        "pad_token_id": pad,
    }
    return _save(MistralModel(MistralConfig(**(sizes | config))), folder)


def make_reranker(folder: Path, kind: str = "bert", **config: Any) -> Path:
    """A cross-encoder with one label: ``bert``, ``roberta`` or ``xlm-roberta``."""
    import transformers

    names = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
    if kind == "bert":
        sizes: dict[str, Any] = dict(_word_pieces(folder))
        said = json.loads((folder / "tokenizer_config.json").read_text())
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
        _write(folder / "tokenizer_config.json", {**said, "model_input_names": inputs})
    else:
        folder.mkdir(parents=True, exist_ok=True)
        sizes = {"vocab_size": write_unigram(folder), "type_vocab_size": 1, "pad_token_id": 1}
    sizes |= {
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 130,
        "num_labels": 1,
    }
    made = getattr(transformers, f"{names[kind]}Config")(**(sizes | config))
    return _save(getattr(transformers, f"{names[kind]}ForSequenceClassification")(made), folder)


def make_m3(folder: Path, **config: Any) -> Path:
    """bge-m3: XLM-R with positions counted from behind the padding's id, a Unigram tokenizer, two heads."""
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "vocab_size": write_unigram(folder),
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 130,
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-5,
    }
    _save(XLMRobertaModel(XLMRobertaConfig(**(sizes | config))), folder)
    draw = np.random.default_rng(12)
    for name, width in (("sparse_linear", 1), ("colbert_linear", WIDTH)):
        shapes = {"weight": (width, WIDTH), "bias": (width,)}
        head = {key: torch.from_numpy(draw.normal(0, 0.3, size).astype("f4")) for key, size in shapes.items()}
        save_file(head, folder / f"{name}.safetensors")
        torch.save(head, folder / f"{name}.pt")
    return folder


def make_minilm(folder: Path, **config: Any) -> Path:
    """all-MiniLM-L6-v2: a small BERT, as transformers writes it."""
    from transformers import BertConfig, BertModel

    return _save(BertModel(BertConfig(**(_word_pieces(folder) | config))), folder)


def make_coderank(folder: Path, **config: Any) -> Path:
    """CodeRankEmbed: NomicBert as transformers writes it."""
    from transformers import NomicBertConfig, NomicBertModel

    return _save(NomicBertModel(NomicBertConfig(**(_word_pieces(folder) | config))), folder)


def _word_pieces(folder: Path) -> dict[str, int]:
    """Write the tokenizer of a model of word pieces; returns tiny sizes that go with it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    names = {name.strip("[]").lower() + "_token": name for name in SPECIALS}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    return {
        "vocab_size": len(vocabulary()),
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    }


def make_legacy_coderank(native: Path, folder: Path) -> Path:
    """The same weights, under the config keys of nomic-bert-2048's own code, as the hub has them.

    The weights' names are the hub's in both: transformers writes them so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(native / name, folder)
    said = json.loads((native / "config.json").read_text())
    legacy = {
        "model_type": "nomic_bert",
        "architectures": ["NomicBertModel"],
        "auto_map": {"AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
        "vocab_size": said["vocab_size"],
        "n_embd": said["hidden_size"],
        "n_layer": said["num_hidden_layers"],
        "n_head": said["num_attention_heads"],
        "n_inner": said["intermediate_size"],
        "n_positions": said["max_position_embeddings"],
        "rotary_emb_base": 1000,
        "layer_norm_epsilon": 1e-12,
    }
    _write(folder / "config.json", legacy)
    return folder


def write_byte_bpe(folder: Path) -> int:
    """``tokenizer.json`` of a byte-level BPE with a few merges; returns the id of its padding token."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    merges = [("r", "e"), ("t", "r"), ("Ġ", "t"), ("o", "n"), ("Ġ", "Ġ"), ("i", "n"), (":", "Ċ")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **_PADS})
    return len(vocab)


# Qwen2's own: transformers puts it in place of what the file says.
_QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PADS = {"pad_token": "<|endoftext|>", "padding_side": "left", "model_max_length": 512}


def write_unigram(folder: Path) -> int:
    """``tokenizer.json`` of a Unigram model with XLM-R's special tokens; returns how many pieces it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = [chr(code) for code in range(33, 127)]
    words = ["▁open", "▁retry", "▁the", "connection", "ing", "▁", "ed", "▁con"]
    scored = [(piece, 0.0) for piece in specials]
    scored += [(piece, -4.0 - number / 10) for number, piece in enumerate(words)]
    scored += [(piece, -9.0 - number / 100) for number, piece in enumerate(letters)]
    scored.append(("<mask>", 0.0))
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([*specials, "<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:0 </s>:0",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    names |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    return len(scored)


def _save(model: Any, folder: Path) -> Path:
    """Weights drawn by NumPy, whose generator is the same in every version; large ones by PyTorch."""
    import numpy as np
    import torch

    if sum(parameter.numel() for parameter in model.parameters()) > _LARGE:
        torch.manual_seed(11)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                norm = "norm" in name.lower() and name.endswith("weight")
                parameter.normal_(1.0 if norm else 0.0, 0.02)
        model.save_pretrained(folder)
        return folder
    draw = np.random.default_rng(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.from_numpy(draw.normal(0, 0.3, tuple(parameter.shape)).astype(np.float32))
            parameter.copy_(drawn + 1 if "norm" in name.lower() and name.endswith("weight") else drawn)
    model.save_pretrained(folder)
    return folder


def _write(path: Path, said: Any) -> None:
    path.write_text(json.dumps(said))
