"""Which tokens top_k keeps, and top_p of few, found without sorting the vocabulary.

Everything is per row and lazy. Weights are probabilities up to a factor: none is negative, so
their bits in the order of integers are in their own order, and integers compare faster.
"""

from __future__ import annotations

import math

import mlx.core as mx

# Below this a vocabulary is not folded: partitioning it is as cheap.
LEAST_FOLDED = 4096


def largest(weights: mx.array, count: int) -> mx.array:
    """The `count` largest of each row of weights [rows, n], in no order: [rows, count].

    Long rows are folded into columns first. A column that holds one of the `count` largest values
    has one of the `count` largest maxima (ties included: any of equal values will do), so all but
    `count` columns can be dropped after one pass.
    """
    length = weights.shape[-1]
    if count >= length:
        return weights
    x = weights.view(mx.int32)
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
    x = mx.partition(x, length - count, axis=-1)[:, length - count :]
    return x.view(mx.float32)


def _folds(length: int, count: int) -> int:
    """Into how many parts to fold: what is looked at afterwards, length / folds + folds * count, is
    least near the root."""
    return max(1, math.isqrt(length // count))


def weight_at_rank(
    weights: mx.array, rank: mx.array, share: mx.array, whole: mx.array | None = None
) -> mx.array:
    """The smallest weight [rows, 1] among the `rank` (int [rows, 1], at most n) largest of
    weights [rows, n] that together reach the `share` (float [rows, 1], not 0) of what these weigh,
    or of `whole` [rows, 1]. With a share of infinity all of them."""
    ordered = mx.sort(weights.view(mx.int32), axis=-1).view(mx.float32)
    at = weights.shape[-1] - rank
    last = mx.take_along_axis(ordered, at, axis=-1)
    up_to = mx.cumsum(ordered, axis=-1, reverse=True)
    mass = share * (mx.take_along_axis(up_to, at, axis=-1) if whole is None else whole)
    count = mx.sum(up_to - ordered < mass, axis=-1, keepdims=True)
    at_mass = mx.take_along_axis(ordered, weights.shape[-1] - count, axis=-1)
    return mx.maximum(at_mass, last)
