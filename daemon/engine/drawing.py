"""From logits to weights, and from weights and random numbers to tokens. Per row, and lazy.

Random numbers are not drawn from a generator but computed from (seed, position), so the same
request yields the same tokens wherever its row lies, whoever its neighbours are, and after a
replay. A token is found where a number falls in the cumulative distribution: in an order that the
vocabulary alone decides, not by rank, so near-ties that swap ranks from one batch to another do not
change what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

_MASK = (1 << 64) - 1
_APART = 40  # a position's numbers lie 2^40 apart: no output is that long

_ALMOST = 1 - 2**-22
# Of the Taylor series of 2^x: right to 3e-7 for |x| <= 1/2.
_POWERS = [math.log(2) ** n / math.factorial(n) for n in range(7)]
_ZERO = -127  # the power of two whose bits are those of 0
# So many powers are computed faster one by one than in two compiled steps.
_FEW = 4096
# One token of so many is found as soon without lines and columns.
_SHORT = 4096
# Up to so many comparisons are made at once rather than in turns.
_AT_ONCE = 1 << 16


def streams_of(seeds: Iterable[int], count: int = 1) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The first `count` random numbers of each seed, to be given to `uniform`: [seeds, count]."""
    streams = _mixed(np.array([seed & _MASK for seed in seeds], dtype=np.uint64))
    return streams[:, None] + (np.arange(count, dtype=np.uint64) << np.uint64(_APART))


def uniform(
    streams: np.ndarray[Any, np.dtype[np.uint64]], positions: Sequence[int]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers in [0, 1) with 24 random bits, [rows, count]: those of each row's streams at its
    position, a pure function of both. The largest are lowered a little, so that rounding steps
    past no last token.

    Two rounds of splitmix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195).
    """
    bits = _mixed(streams + np.array(positions, dtype=np.uint64)[:, None]) >> np.uint64(40)
    return np.minimum(bits.astype(np.float32) * np.float32(2**-24), np.float32(_ALMOST))


def _mixed(z: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def weights_of(logits: mx.array, scale: mx.array) -> mx.array:
    """2 ^ ((logits - the row's largest) * scale), float [rows, vocabulary]: 1 for the likeliest.
    scale is [rows, 1].

    MLX's CPU backend computes powers one by one; the products compiled take a third of that.
    """
    x = logits.astype(mx.float32) * scale
    x = x - mx.max(x, axis=-1, keepdims=True)
    if x.size <= _FEW:
        return mx.power(2.0, x)
    near_one, bits = _factors(x)
    return near_one * bits.view(mx.float32)


def warm_up(vocab_size: int) -> None:
    """Compiles what `weights_of` needs: on Linux the first time takes a second."""
    rows = _FEW // vocab_size + 1
    mx.eval(weights_of(mx.zeros((rows, vocab_size)), mx.ones((rows, 1))))


@mx.compile
def _factors(x: mx.array) -> tuple[mx.array, mx.array]:
    """2^x of float x <= 0 as a float near 1 and the bits of a power of two, or of 0."""
    x = mx.maximum(x, _ZERO)
    whole = (x - 0.5).astype(mx.int32)  # rounds, as x is at most 0
    x = x - whole.astype(mx.float32)
    square = x * x
    p = _POWERS
    high = p[4] + p[5] * x + p[6] * square
    near_one = (high * square + (p[2] + p[3] * x)) * square + (p[0] + p[1] * x)
    return near_one, (whole - _ZERO) << 23


class Drawn(NamedTuple):
    tokens: mx.array  # int [rows, draws]
    weights: mx.array  # theirs
    total: mx.array  # [rows, 1]: what all weigh


def lines_of(weights: mx.array) -> mx.array:
    """weights [rows, vocabulary] as [rows, lines, columns], about a square. What is missing to the
    last line weighs nothing."""
    rows, length = weights.shape
    columns = 1 << (length.bit_length() // 2)
    if length % columns:
        weights = mx.pad(weights, [(0, 0), (0, -length % columns)])
    return weights.reshape(rows, -1, columns)


def draw_one(weights: mx.array, numbers: mx.array) -> mx.array:
    """A token int [rows] for each of numbers [rows, 1], by weights [rows, vocabulary]."""
    if weights.shape[-1] > _SHORT:
        return draw(lines_of(weights), numbers).tokens[:, 0]
    up_to = mx.cumsum(weights, axis=-1)
    return mx.sum(up_to <= numbers * up_to[:, -1:], axis=-1)


def draw(lines: mx.array, numbers: mx.array) -> Drawn:
    """A token for each of numbers [rows, draws], by weights [rows, lines, columns].

    The column is found first, then the line: sums along columns are vectors.
    """
    up_to = mx.cumsum(lines, axis=1)
    columns = up_to[:, -1]
    before = mx.cumsum(columns, axis=-1, inclusive=False)
    total = before[:, -1:] + columns[:, -1:]
    target = numbers * total
    column = mx.sum(before[:, None] <= target[:, :, None], axis=-1) - 1
    place = column[:, None]
    inside = mx.take_along_axis(up_to, place, axis=2)  # [rows, lines, draws]
    rest = target - mx.take_along_axis(before, column, axis=-1)
    rest = mx.minimum(rest, inside[:, -1] * _ALMOST)
    line = mx.sum(inside <= rest[:, None], axis=1)
    tokens = line * lines.shape[2] + column
    weights = mx.take_along_axis(lines.reshape(lines.shape[0], -1), tokens, axis=-1)
    return Drawn(tokens, weights, total)


def in_nucleus(lines: mx.array, drawn: mx.array, mass: mx.array) -> mx.array:
    """Which of the weights drawn [rows, draws] belong to the likeliest tokens that together reach
    `mass` [rows, 1], of weights [rows, lines, columns]: bool, true where what is heavier does not.

    Draws is a power of two less one.
    """
    rows, draws = drawn.shape
    if lines.size * draws <= _AT_ONCE:
        weights = lines.reshape(rows, 1, -1)
        heavier = (weights > drawn[:, :, None]).astype(mx.float32)
        return (heavier @ weights.transpose(0, 2, 1))[:, :, 0] < mass
    # With one weight all larger ones belong to it: how many do is found by halving.
    ordered = -mx.sort(-drawn, axis=-1)
    count = mx.zeros((rows, 1), dtype=mx.int32)
    step = (draws + 1) // 2
    while step:
        pivot = mx.take_along_axis(ordered, count + (step - 1), axis=-1)[:, :, None]
        heavier = mx.sum(mx.sum((lines > pivot) * lines, axis=1), axis=-1, keepdims=True)
        count = count + (heavier < mass) * step
        step //= 2
    least = mx.take_along_axis(ordered, mx.maximum(count - 1, 0), axis=-1)
    return (drawn >= least) & (count > 0)
