"""Runs a decoder: prefill chunks of single rows, decode steps of all rows."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from ..kv import batch_cache
from ..kv.batch_cache import BatchCache, LayerCaches


class TextRunner:
    """Owns the model and the caches of the running rows.

    Rows form one batch, or, where the architecture's caches cannot merge (`batches` False), a
    batch of one each.
    """

    def __init__(self, model: nn.Module, *, batches: bool | None = None) -> None:
        self.model = model
        self.batches = batch_cache.can_merge(self.new_cache()) if batches is None else batches
        self._groups: list[BatchCache] = []

    def new_cache(self) -> LayerCaches:
        """Empty caches for one row."""
        return make_prompt_cache(self.model)

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self._groups)

    def prefill(self, cache: LayerCaches, tokens: list[int]) -> None:
        """Computes `tokens` into the row's caches. Submitted, not waited for.

        The logits are never evaluated, so the output projection of the prompt costs nothing.
        """
        self.model(mx.array([tokens]), cache=cache)
        mx.async_eval(batch_cache.arrays(cache))

    def join(self, caches: list[LayerCaches]) -> None:
        """Prefilled rows enter the decode batch at its end."""
        if self.batches:
            if not self._groups:
                self._groups.append(BatchCache())
            self._groups[0].join(caches)
            return
        for cache in caches:
            group = BatchCache()
            group.join([cache])
            self._groups.append(group)

    def keep(self, rows: list[int]) -> None:
        """Keeps these rows in this order (ascending); the others' caches are freed."""
        if self.batches:
            if self._groups:
                self._groups[0].keep(rows)
            if not rows:
                self._groups = []
            return
        self._groups = [self._groups[row] for row in rows]

    def decode(self, tokens: mx.array) -> mx.array:
        """One token a row, int [rows] → logits [rows, vocabulary] of the next one, lazily."""
        outputs: list[Any] = []
        start = 0
        for group in self._groups:
            inputs = tokens[start : start + group.rows] if len(self._groups) > 1 else tokens
            outputs.append(self.model(inputs[:, None], cache=group.layers)[:, -1])
            start += group.rows
        return outputs[0] if len(outputs) == 1 else mx.concatenate(outputs)

    @property
    def kv_bytes(self) -> int:
        return sum(group.nbytes for group in self._groups)
