"""A long prefix that several rows have in common, held once while they run.

    row a   |------------- base -------------|-- own --|
    row b   |------------- base -------------|---- own ----|

The base is the prefix cache's arrays, by reference. Prefill of a row puts base and own tokens
together for one layer at a time; decoding attends to both without that (`attend`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask
from mlx_lm.models.cache import CacheList, KVCache

Pair = tuple[mx.array, mx.array]


class Base:
    """The first `length` tokens of several rows: for each sliceable cache the pairs of keys and
    values [1, heads, tokens, dim], in their order. The same object for all rows that share it."""

    def __init__(self, length: int, layers: Sequence[Sequence[Pair]]) -> None:
        self.length = length
        self.hold(layers)

    def hold(self, layers: Sequence[Sequence[Pair]]) -> None:
        """The same tokens, perhaps in other pieces."""
        self.layers = tuple(tuple(pairs) for pairs in layers)

    def __deepcopy__(self, memo: Any) -> Base:
        return self


class TailCache:
    """What mlx-lm's KVCache is to a model, but holds only the tokens after a base."""

    def __init__(self, base: Base, layer: int) -> None:
        self.base = base
        self.layer = layer
        self.own = KVCache()

    @property
    def offset(self) -> int:
        return self.base.length + self.own.offset

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Pair:
        own: Any = self.own.update_and_fetch(keys, values)
        pairs = self.base.layers[self.layer]
        whole_keys, whole_values = (
            mx.concatenate([*(pair[part] for pair in pairs), own[part]], axis=2) for part in (0, 1)
        )
        return whole_keys, whole_values

    def make_mask(
        self, N: int, return_array: bool = False, window_size: int | None = None
    ) -> mx.array | str | None:
        if window_size is not None or (return_array and N > 1):
            return create_causal_mask(N, self.offset, window_size=window_size)
        return "causal" if N > 1 else None

    @property
    def state(self) -> Any:
        return self.own.state

    @property
    def nbytes(self) -> int:
        return self.own.nbytes

    def empty(self) -> bool:
        return False


def own_of(cache: Any) -> Any:
    """The cache with the row's own tokens alone: mlx-lm's, also where it goes on from a base."""
    return cache.own if isinstance(cache, TailCache) else cache


def over(caches: list[Any], base: Base) -> list[Any]:
    """Empty caches of a row whose first tokens are the base's."""
    numbers = iter(range(len(base.layers)))
    return [_over(cache, base, numbers) for cache in caches]


def _over(cache: Any, base: Base, numbers: Iterator[int]) -> Any:
    if isinstance(cache, CacheList):
        return CacheList(*(_over(part, base, numbers) for part in cache.caches))
    return TailCache(base, next(numbers)) if type(cache) is KVCache else cache


def attend(
    queries: mx.array,
    base: Sequence[tuple[Pair, Any]],
    own: tuple[Pair, Any],
    *,
    scale: float,
    sinks: mx.array | None,
) -> mx.array:
    """Attention of queries [rows, heads, 1, dim] to a base that all rows see and to each row's own
    keys [rows, kv heads, columns, dim], in one softmax.

    With each pair comes what is to be done to its scores: None, a mask, or numbers to be added,
    [rows, 1 or heads, 1, columns].
    """
    rows, heads = queries.shape[:2]
    scaled = queries * scale
    together = scaled.transpose(2, 1, 0, 3)  # the rows are as many queries of one sequence
    scores: list[mx.array] = []
    for (keys, _), mask in base:
        kv_heads = keys.shape[1]
        grouped = together.reshape(1, kv_heads, -1, queries.shape[-1]) @ keys.swapaxes(-1, -2)
        scores.append(_masked(grouped.reshape(1, heads, rows, -1).transpose(2, 1, 0, 3), mask))
    (keys, values), mask = own
    grouped = scaled.reshape(rows, keys.shape[1], -1, queries.shape[-1]) @ keys.swapaxes(-1, -2)
    scores.append(_masked(grouped.reshape(rows, heads, 1, -1), mask))
    if sinks is not None:
        column = sinks.astype(scores[0].dtype).reshape(1, heads, 1, 1)
        scores.append(mx.broadcast_to(column, (rows, heads, 1, 1)))
    weights = mx.softmax(mx.concatenate(scores, axis=-1), axis=-1, precise=True)
    weights = weights.astype(values.dtype)
    out: mx.array | None = None
    start = 0
    for (_, part), _ in base:
        seen = weights[..., start : start + part.shape[2]].transpose(2, 1, 0, 3)
        start += part.shape[2]
        product = seen.reshape(1, part.shape[1], -1, part.shape[2]) @ part
        product = product.reshape(1, heads, rows, -1).transpose(2, 1, 0, 3)
        out = product if out is None else out + product
    seen = weights[..., start : start + values.shape[2]]
    product = seen.reshape(rows, values.shape[1], -1, values.shape[2]) @ values
    product = product.reshape(rows, heads, 1, -1)
    return product if out is None else out + product


def _masked(scores: mx.array, mask: Any) -> mx.array:
    if mask is None:
        return scores
    if mask.dtype == mx.bool_:
        return mx.where(mask, scores, mx.array(mx.finfo(scores.dtype).min, scores.dtype))
    return scores + mask
