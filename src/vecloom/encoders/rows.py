"""What encoders read off the rows that they serve, and how texts become tokens behind a row's prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecloom.encoders.counters import CounterSettings
from vecloom.encoders.tokens import FileTokenizer, TokenRows, shared_tokenizer
from vecloom.errors import ConfigError, EncodingError
from vecloom.registry import ModelSpec, Role


def prompts_of(specs: Sequence[ModelSpec], task: str | None = None) -> Mapping[Role, str]:
    """The prompts that rows of one pass share, by role: those of ``task``, or of their first task.

    A row that does not know the task keeps its first one.

    Raises:
        ConfigError: the rows differ in prompts, so that one forward cannot serve them.
    """
    first = specs[0]
    for spec in specs:
        if spec.prompts != first.prompts:
            raise ConfigError(f"{first.key} and {spec.key} differ in prompts; give each its own shared_pass")
    if task is not None and task in first.prompts:
        return first.prompts[task]
    return next(iter(first.prompts.values()), {})


def limit_of(specs: Sequence[ModelSpec], positions: int | None = None) -> int:
    """Tokens beyond which rows of one pass cut a text: the least of their hard limits and the model's own."""
    limits = [*(spec.max_tokens for spec in specs), positions]
    return min((limit for limit in limits if limit), default=512)


def last_token_of(specs: Sequence[ModelSpec]) -> str | None:
    """The token that rows of one pass put behind every text, whatever their tokenizer's file does."""
    said = specs[0].settings.get("last_token")
    return None if said is None else str(said)


def check_dim(spec: ModelSpec, hidden: int) -> None:
    """Refuse a dense row whose dimension is neither the model's nor one that it may be cut to.

    Raises:
        EncodingError: it is.
    """
    if spec.kind == "dense" and spec.dim not in (hidden, *(d for d in spec.matryoshka_dims if d < hidden)):
        raise EncodingError(
            f"{spec.key}: the row says dim {spec.dim}, the model gives {hidden}; correct the row"
        )


def sized(spec: ModelSpec, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut to the row's Matryoshka dimension, and of length 1 again where the row normalises."""
    if spec.dim is None or spec.dim == pooled.shape[1]:
        return pooled
    cut = pooled[:, : spec.dim]
    return cut / np.linalg.norm(cut, axis=1, keepdims=True) if spec.normalise else cut.copy()


class Tokenising:
    """What encoders over a ``tokenizer.json`` have in common: counting, and tokens behind a role's prompt."""

    names: tuple[str, ...]
    _folder: Path
    _limit: int
    _prompts: Mapping[Role, str]
    _last_token: str | None = None

    @property
    def counting(self) -> CounterSettings:
        """Counts the model's own tokens; the documents' prompt counts among the special ones."""
        specials = None if self._last_token is None else self._tokenizer.specials
        path = self._folder / "tokenizer.json"
        return CounterSettings(str(path), specials, self._prompts.get("document", ""))

    @cached_property
    def _tokenizer(self) -> FileTokenizer:
        return shared_tokenizer(self._folder / "tokenizer.json", self._limit, self._last_token)

    def prepare(self, texts: Sequence[str]) -> None:
        """Tokenise stored texts ahead; the tokenizer remembers them."""
        self._tokenized(texts, "document")

    def _tokenized(self, texts: Sequence[str], role: Role) -> TokenRows:
        """The tokens of texts behind the role's prompt.

        Raises:
            EncodingError: a text has none, so that there is nothing to pool.
        """
        prompt = self._prompts.get(role, "")
        rows = self._tokenizer.rows([prompt + text for text in texts] if prompt else texts)
        if not rows.lengths.all():
            text, names = texts[int(rows.lengths.argmin())], ", ".join(self.names)
            raise EncodingError(f"the text {text[:60]!r} has no token for {names}; leave it out")
        return rows
