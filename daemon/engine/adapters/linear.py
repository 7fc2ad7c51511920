"""A linear layer with the LoRA weights of several adapters (https://arxiv.org/abs/2106.09685).

The low ranks of all adapters lie side by side, so that rows with different adapters are two matrix
products, whatever their number:

    x  ->  [ a1 | a2 | a3 ]  ->  times the row's shares, 0 for the others' ranks  ->  [ b1 b2 b3 ]
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn

from .selection import Ranks, Selection


class LowRank(NamedTuple):
    """An adapter's weights for one linear layer, as mlx-lm stores them."""

    a: mx.array  # [in, rank]
    b: mx.array  # [rank, out]


class AdaptedLinear(nn.Module):
    """`linear` and what the adapters of the rows add to it: scale * (x a) b."""

    def __init__(self, linear: nn.Module, parts: dict[int, LowRank], selection: Selection) -> None:
        super().__init__()
        self.linear = linear
        self.a = mx.concatenate([part.a.T for part in parts.values()])  # [ranks, in]
        self.b = mx.concatenate([part.b for part in parts.values()])  # [ranks, out]
        spans: list[tuple[int, int, int]] = []
        start = 0
        for adapter, part in parts.items():
            spans.append((adapter, start, start + part.b.shape[0]))
            start += part.b.shape[0]
        self._ranks = Ranks(tuple(spans))
        self._selection = selection

    def __call__(self, x: mx.array) -> mx.array:
        y = self.linear(x)
        selection = self._selection
        single = selection.single
        if single is None:
            return self._mixed(x, y)
        for adapter, start, stop in self._ranks.spans:
            if adapter == single:
                z = (x @ self.a[start:stop].T) @ self.b[start:stop]
                return y + (selection.scales[single] * z).astype(x.dtype)
        return y

    def _mixed(self, x: mx.array, y: mx.array) -> mx.array:
        shares = self._selection.shares(self._ranks)
        if shares is None:
            return y
        a, b = self.a, self.b
        if shares.ranks is not None:
            a, b = a[shares.ranks], b[shares.ranks]
        low = x @ a.T
        weights = along(shares.weights, x.shape[:-1]).astype(low.dtype)
        low = low * weights
        if low.dtype == y.dtype:
            return mx.addmm(y, low, b)
        return y + (low @ b).astype(x.dtype)


def along(per_row: mx.array, shape: tuple[int, ...]) -> mx.array:
    """[rows, n] → something that multiplies [*shape, n], whose first axis is the rows, or the rows'
    tokens one after the other. Raises ValueError where it is neither."""
    rows, n = per_row.shape
    if shape[0] == rows:
        return per_row.reshape(rows, *[1] * (len(shape) - 1), n)
    if len(shape) == 1 and shape[0] % rows == 0:
        return mx.repeat(per_row, shape[0] // rows, axis=0)
    raise ValueError(f"adapters of {rows} rows cannot be told apart in an input of shape {shape}")
