"""Texts read together with a query by a reranker, and hits in the order that it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from vecloom.arguments import check_text, check_texts
from vecloom.config import Config, load_config
from vecloom.encoders.backends import ANYHOW, How, runs_of
from vecloom.pipeline.setup import cross_encoder_for
from vecloom.search import Query, in_order_of
from vecloom.types import Hit
from vecloom.weights import unheard

if TYPE_CHECKING:
    from vecloom.encoders.cross_encoder import PairScorer, PairScores


class Reranker:
    """A cross-encoder: how well texts answer a query, each read together with it."""

    def __init__(
        self,
        model: str,
        *,
        how: How = ANYHOW,
        config: Config | None = None,
        notice: Callable[[str], None] = unheard,
    ) -> None:
        """``model``: key or hub id of a reranker. Nothing is fetched or loaded here.

        Raises:
            UnknownModelError: no row answers to the name.
            UsageError: the model is no reranker, or cannot be run.
            DeviceError: the device is not there, or lacks the precision.
            MissingExtraError: it runs on PyTorch, which is not installed.
        """
        self._config = config or load_config()
        self._how = how
        self._notice = notice
        self.spec = self._config.registry().reranker(check_text("model", model))
        runs_of([self.spec], how)

    @cached_property
    def _model(self) -> PairScorer:
        return cross_encoder_for(self.spec, self._config, self._notice, self._how)

    def fetch(self) -> None:
        """Fetch the model's files if they are not here; nothing is loaded.

        Raises:
            WeightsError: they cannot be had, or tell of another kind of model.
        """
        self._model  # noqa: B018 (it loads on its first use)

    def scores(self, query: str, texts: Sequence[str]) -> PairScores:
        """A number for each text, higher where it answers better; comparable for one query only.

        Raises:
            UsageError: a query that is no string, or texts that are no list of strings.
            WeightsError: the model's files cannot be had or read.
            EncodingError: the model gave NaN or infinity, or a pair does not fit the device's memory.
        """
        check_text("query", query)
        texts = check_texts("texts", texts)
        return self._model.scores(query, texts)

    def reranked(self, query: Query, hits: Sequence[Hit], texts: Sequence[str]) -> list[Hit]:
        """The best of ``hits``, whose encoded texts are ``texts``, in the order of the model's scores.

        What that took, the loading of the model included, is told in a line.

        Raises:
            WeightsError, EncodingError: as `scores`.
        """
        if not hits:
            return []
        begun = time.perf_counter()
        found = self.scores(query.text, texts)
        took = 1000 * (time.perf_counter() - begun)
        cut = f"; {found.cut_texts:,} of them did not fit it whole" if found.cut_texts else ""
        count = "1 hit" if len(hits) == 1 else f"{len(hits):,} hits"
        self._notice(f"reranked {count} with {self.spec.key} in {took:,.0f} ms{cut}")
        return in_order_of(found.values.tolist(), hits, query)
