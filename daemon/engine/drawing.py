"""From logits to weights, and from weights and a random number to a token.

Random numbers are not drawn from a generator but computed from (seed, position), so the same
request yields the same tokens wherever its row lies and after a replay. One a row and step is
enough: the token is found where it falls in the cumulative distribution.
"""

from __future__ import annotations

import math

import mlx.core as mx

_MASK = (1 << 64) - 1
BLOCK = 64  # tokens whose weights are summed up first
# Keeps rounding from stepping past the last token.
_ALMOST = 1 - 2**-22
# Of the Taylor series of 2^x: right to 3e-7 for |x| <= 1/2.
_POWERS = [math.log(2) ** n / math.factorial(n) for n in range(7)]
_LEAST_POWER = -126  # of two, that is not denormal


def stream(seed: int) -> int:
    """The random numbers of a seed, to be given to `uniform`."""
    return _mix(seed & _MASK)


def uniform(numbers: int, position: int) -> float:
    """A number in [0, 1) with 24 random bits, a pure function of the stream and the position.

    Two rounds of splitmix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195).
    """
    return (_mix(numbers + position) >> 40) / (1 << 24)


def _mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@mx.compile
def weights_of(logits: mx.array, top: mx.array, scale: mx.array, least: mx.array) -> mx.array:
    """2 ^ ((logits - top) * scale) of float logits [rows, n], 0 of those below `least`; the others
    are [rows, 1].

    MLX's CPU backend takes 5 to 12 ns for a power, one element at a time; compiled, these products
    take a third of that, and one kernel on a device.
    """
    x = (logits - top) * scale
    passes = (logits >= least) & (x > _LEAST_POWER)
    x = mx.maximum(x, _LEAST_POWER)
    whole = (x - 0.5).astype(mx.int32)  # rounds, as x is at most 0
    rest = x - whole.astype(mx.float32)
    power = mx.full((), _POWERS[-1])
    for factor in reversed(_POWERS[:-1]):
        power = power * rest + factor
    return passes * power * ((whole + 127) << 23).view(mx.float32)


def draw(weights: mx.array, numbers: mx.array) -> mx.array:
    """Tokens int [rows] by weights [rows, vocabulary] and uniform numbers [rows, 1].

    In the order of the vocabulary, not by rank: near-ties that swap ranks from one batch to another
    do not change what is drawn.
    """
    rows, length = weights.shape
    if length % BLOCK:
        weights = mx.pad(weights, [(0, 0), (0, -length % BLOCK)])
    blocks = weights.reshape(rows, -1, BLOCK)
    up_to = mx.cumsum(mx.sum(blocks, axis=-1), axis=-1)
    total = up_to[:, -1:]
    target = mx.minimum(numbers * total, total * _ALMOST)
    block = mx.sum(up_to <= target, axis=-1, keepdims=True)
    before = mx.take_along_axis(mx.pad(up_to, [(0, 0), (1, 0)]), block, axis=-1)
    inside = mx.cumsum(mx.take_along_axis(blocks, block[:, :, None], axis=1)[:, 0], axis=-1)
    rest = mx.minimum(target - before, inside[:, -1:] * _ALMOST)
    return block[:, 0] * BLOCK + mx.sum(inside <= rest, axis=-1)
