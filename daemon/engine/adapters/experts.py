"""The experts of a mixture with the LoRA weights of several adapters.

mlx-lm sorts many tokens by their expert before it calls the layers, and a layer then does not see
which row a token belongs to. So the sorting is replaced by one that remembers its order.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import switch_layers

from .selection import Selection


class LowRankExperts(NamedTuple):
    """An adapter's weights for the experts of one layer, as mlx-lm stores them."""

    a: mx.array  # [experts, rank, in]
    b: mx.array  # [experts, out, rank]


class _Sorted(NamedTuple):
    tokens: mx.array  # int [tokens * experts per token]: the token of each sorted place
    num_tokens: int


_sorted: _Sorted | None = None


def _gather_sort(x: mx.array, indices: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """As mlx-lm's, and keeps the order for the adapted layers that are called next."""
    global _sorted
    per_token = indices.shape[-1]
    flat = indices.flatten()
    order = mx.argsort(flat)
    tokens = order // per_token
    _sorted = _Sorted(tokens, flat.size // per_token)
    return x.flatten(0, -3)[tokens], flat[order], mx.argsort(order)


class AdaptedExperts(nn.Module):
    """`linear` (a SwitchLinear, plain or quantised) and what the rows' adapters add to it."""

    def __init__(
        self, linear: nn.Module, parts: dict[int, LowRankExperts], selection: Selection
    ) -> None:
        super().__init__()
        switch_layers._gather_sort = _gather_sort
        self.linear = linear
        rank = max(part.a.shape[1] for part in parts.values())
        self.a = mx.concatenate([_padded(part.a, 1, rank) for part in parts.values()])
        self.b = mx.concatenate([_padded(part.b, 2, rank) for part in parts.values()])
        self._experts = next(iter(parts.values())).a.shape[0]
        self._adapters = tuple(parts)
        self._selection = selection

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        y = self.linear(x, indices, sorted_indices=sorted_indices)
        selection = self._selection
        single = selection.single
        if single is None:
            places, scales = self._of_tokens(indices, sorted_indices)
            # Rows without an adapter here borrow the first one's, times 0.
            z = self._added(x, self.a, self.b, places * self._experts + indices, False)
            return y + (scales[..., None, None] * z).astype(x.dtype)
        if single not in self._adapters:
            return y
        start = self._adapters.index(single) * self._experts
        a, b = self.a[start : start + self._experts], self.b[start : start + self._experts]
        z = self._added(x, a, b, indices, sorted_indices)
        return y + (selection.scales[single] * z).astype(x.dtype)

    def _added(
        self, x: mx.array, a: mx.array, b: mx.array, chosen: mx.array, sorted_indices: bool
    ) -> mx.array:
        for weights in (a, b):
            x = mx.gather_mm(
                x, weights.swapaxes(-1, -2), rhs_indices=chosen, sorted_indices=sorted_indices
            )
        return x

    def _of_tokens(self, indices: mx.array, sorted_indices: bool) -> tuple[mx.array, mx.array]:
        """Place and scale of each token's adapter, in shapes that broadcast to `indices`."""
        places, scales = self._selection.places(self._adapters)
        if sorted_indices:
            if _sorted is None or _sorted.tokens.size != indices.size:
                raise ValueError("experts whose tokens are sorted in a way of the model's own")
            row = _sorted.tokens // _per_row(_sorted.num_tokens, places.size)
            return places[row], scales[row]
        if indices.shape[0] == places.size:
            shape = (places.size, *[1] * (indices.ndim - 1))
            return places.reshape(shape), scales.reshape(shape)
        count = _per_row(indices.shape[0], places.size)
        shape = (indices.shape[0], *[1] * (indices.ndim - 1))
        return mx.repeat(places, count).reshape(shape), mx.repeat(scales, count).reshape(shape)


def _per_row(num_tokens: int, rows: int) -> int:
    if num_tokens % rows:
        raise ValueError(f"adapters of {rows} rows cannot be told apart in {num_tokens} tokens")
    return num_tokens // rows


def _padded(weights: mx.array, axis: int, rank: int) -> mx.array:
    widths = [(0, 0)] * 3
    widths[axis] = (0, rank - weights.shape[axis])
    return mx.pad(weights, widths) if widths[axis][1] else weights
