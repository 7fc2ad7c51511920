"""Which tokens top_k, top_p and min_p keep, found without sorting the vocabulary.

Everything is per row and lazy. Weights are probabilities up to a factor.
"""

from __future__ import annotations

import math

import mlx.core as mx

# Below this a vocabulary is not folded: partitioning it is as cheap.
LEAST_FOLDED = 4096
SORTED = 128  # so many values are sorted rather than halved again


def largest(x: mx.array, count: int) -> mx.array:
    """The `count` largest values of each row of x [rows, n], in no order: [rows, count].

    Long rows are folded into columns first. A column that holds one of the `count` largest values
    has one of the `count` largest maxima (ties included: any of equal values will do), so all but
    `count` columns can be dropped after one pass.
    """
    length = x.shape[-1]
    if count >= length:
        return x
    if length >= LEAST_FOLDED:
        folds = _folds(length, count)
        columns = length // folds
        if columns > 2 * count:
            head = x[:, : folds * columns].reshape(x.shape[0], folds, columns)
            best = mx.argpartition(mx.max(head, axis=1), columns - count, axis=-1)
            best = best[:, None, columns - count :]
            kept = mx.take_along_axis(head, best, axis=2).reshape(x.shape[0], folds * count)
            x = mx.concatenate([kept, x[:, folds * columns :]], axis=-1)
            length = x.shape[-1]
    return mx.partition(x, length - count, axis=-1)[:, length - count :]


def _folds(length: int, count: int) -> int:
    """Into how many parts to fold: what is looked at afterwards, length / folds + folds * count, is
    least near the root."""
    return max(1, math.isqrt(length // count))


def weight_at_mass(weights: mx.array, mass: mx.array) -> mx.array:
    """The smallest weight [rows, 1] that the likeliest tokens together reaching `mass` [rows, 1]
    have. With less than that in weights [rows, n], the smallest of all.

    Halves what is looked at: the sum of the larger half says which half the threshold lies in.
    """
    above = mx.zeros_like(mass)  # what the values that were dropped as larger weigh
    length = weights.shape[-1]
    while length > SORTED:
        half = length // 2
        weights = mx.partition(weights, length - half, axis=-1)
        low, high = weights[:, : length - half], weights[:, length - half :]
        with_high = above + mx.sum(high, axis=-1, keepdims=True)
        lower = with_high < mass
        above = mx.where(lower, with_high, above)
        if length % 2:
            high = mx.concatenate([high, high[:, :1] * 0], axis=-1)
        weights = mx.where(lower, low, high)
        length -= half
    weights = mx.sort(weights, axis=-1)[:, ::-1]
    return _at_mass(weights, mass, above)


def weight_at_rank(weights: mx.array, rank: mx.array, share: mx.array) -> mx.array:
    """The smallest weight [rows, 1] among the `rank` likeliest tokens (float [rows, 1]) that
    together have the `share` of what these weigh; all weights equal to the last one's count."""
    ordered = mx.sort(weights, axis=-1)[:, ::-1]
    index = mx.clip(rank - 1, 0, weights.shape[-1] - 1).astype(mx.int32)
    last = mx.take_along_axis(ordered, index, axis=-1)
    kept = mx.where(ordered >= last, ordered, 0.0)
    total = mx.sum(kept, axis=-1, keepdims=True)
    at_mass = _at_mass(kept, share * total, mx.zeros_like(total))
    return mx.where(share < 1, mx.maximum(at_mass, last), last)


def _at_mass(ordered: mx.array, mass: mx.array, above: mx.array) -> mx.array:
    before = above + mx.cumsum(ordered, axis=-1) - ordered  # what the likelier ones weigh
    last = mx.maximum(mx.sum(before < mass, axis=-1, keepdims=True) - 1, 0)
    return mx.take_along_axis(ordered, last, axis=-1)
