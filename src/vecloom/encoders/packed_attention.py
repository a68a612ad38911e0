"""Attention over packed texts: one row of tokens, no padding, no mask.

Registered with transformers under the name `PACKED`, it serves every architecture that asks for its attention
by name. The linear layers see one long row of real tokens; only here are the texts told apart.

On a CUDA device with compute capability 8 or more, in half precision, that is one call of torch's
variable-length flash attention. Elsewhere it is one `scaled_dot_product_attention` for each run of texts of
one length: texts come sorted by length, so there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: The name by which transformers knows it, and the argument that carries the `Layout` through a model.
PACKED = "vecloom_packed"
LAYOUT = "packed_layout"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the texts of a packed row lie.

    ``runs``: first token, number of texts and their length, for each run of texts of one length. ``bounds``:
    int32 [texts + 1] on the device, the first token of each text and the end; None where runs are used.
    ``longest``: tokens of the longest text.
    """

    runs: tuple[tuple[int, int, int], ...]
    longest: int
    bounds: Tensor | None = None


def runs_of(lengths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """The `Layout.runs` of texts of these lengths, one behind the other."""
    runs, start = [], 0
    for length, group in groupby(lengths):
        count = sum(1 for _ in group)
        runs.append((start, count, length))
        start += count * length
    return tuple(runs)


def register() -> None:
    """Make the attention known to transformers. Models ask for no mask of a name that has none."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, attend)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Attention within each text; tensors are [1, heads, tokens, size], the result [1, tokens, heads, size].

    Causal where the module says so, and then within a sliding window if it has one: a token sees so many, its
    own place included. ``given[LAYOUT]`` tells the texts apart.

    Raises:
        ValueError: a mask, or a window that is not causal: they have no place here.
    """
    layout: Layout = given[LAYOUT]
    causal = bool(getattr(module, "is_causal", False))
    window = given.get("sliding_window")
    if window is not None and window >= layout.longest:
        window = None
    if attention_mask is not None or (window is not None and not causal):
        raise ValueError("packed attention takes neither a mask nor a window that looks both ways")
    # [tokens, heads, size], as they were before the model moved the heads forward.
    rows = [part.transpose(1, 2)[0] for part in (query, key, value)]
    attended = _varlen if layout.bounds is not None else _by_length
    return attended(rows, layout, causal, scaling, window)[None], None


def _by_length(
    rows: Sequence[Tensor], layout: Layout, causal: bool, scaling: float | None, window: int | None
) -> Tensor:
    import torch

    query, key, _ = rows
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.device.type != "cpu":
        # There only flash attention takes grouped heads, which older devices and float32 have not: the
        # memory-efficient kernel takes them one by one, else all scores would be written out.
        rows = [query, *repeated_heads(query.shape[1], *rows[1:], heads_at=1)]
        grouped = False
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for start, count, length in layout.runs:
        end = start + count * length
        parts = [part[start:end].unflatten(0, (count, length)).transpose(1, 2) for part in rows]
        band = _band(length, window, query.device) if window is not None and window < length else None
        found = torch.nn.functional.scaled_dot_product_attention(
            *parts,
            attn_mask=band,
            is_causal=causal and length > 1 and band is None,
            scale=scaling,
            enable_gqa=grouped,
        )
        out[start:end].unflatten(0, (count, length)).copy_(found.transpose(1, 2))
    return out


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Which tokens [length] see which [length]: their own place and those before it, ``window`` in all."""
    import torch

    places = torch.arange(length, device=device)
    back = places[:, None] - places[None]
    return (back >= 0) & (back < window)


def repeated_heads(heads: int, *parts: Tensor, heads_at: int) -> list[Tensor]:
    """Keys and values of fewer heads than the queries', each as often as it is asked."""
    return [part.repeat_interleave(heads // part.shape[heads_at], heads_at) for part in parts]


def _varlen(
    rows: Sequence[Tensor], layout: Layout, causal: bool, scaling: float | None, window: int | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = rows
    return varlen_attn(
        query,
        key,
        value,
        layout.bounds,
        layout.bounds,
        layout.longest,
        layout.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0 if causal else -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )


def has_varlen(
    device: torch.device, dtype: torch.dtype, heads: tuple[int, int], size: int, window: bool
) -> bool:
    """Whether torch's variable-length attention works here: tried once, against the other way.

    ``heads``: of queries, and of keys and values; ``size``: of a head; ``window``: tried within one too.

    It is young, and its needs (device, precision, build of torch) are its own to know.
    """
    import torch

    if device.type != "cuda" or dtype == torch.float32 or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    lengths = (7, 5, 5, 1)
    bounds = torch.tensor([0, 7, 12, 17, 18], dtype=torch.int32, device=device)
    layout = Layout(runs_of(lengths), max(lengths), bounds)
    draw = torch.Generator(device=device).manual_seed(0)
    rows = [
        torch.randn(sum(lengths), count, size, dtype=dtype, device=device, generator=draw)
        for count in (heads[0], heads[1], heads[1])
    ]
    for width in (None, 3) if window else (None,):
        try:
            one = _varlen(rows, layout, True, None, width)
        except (ImportError, RuntimeError, TypeError, ValueError):  # not in this build or for this device
            return False
        other = _by_length(rows, layout, True, None, width)
        if not torch.allclose(one.float(), other.float(), atol=0.02):
            return False
    return True
