"""Which inputs are computed in one forward. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BATCH_TOKENS = 8192  # of a forward, padding included; a longer input runs by itself
PADDING = 32  # tokens of padding that are never too many


class Input(NamedTuple):
    """A text, or a pair of them, see `wire.Score`."""

    tokens: list[int]
    second: int = 0
    labels: tuple[int, int] | None = None


def next_batch(lengths: Sequence[int]) -> list[int]:
    """Indices into `lengths` (inputs in the order of their arrival): the first one, and others of
    similar length, so that padding at most doubles an input or is at most PADDING tokens."""
    shortest = longest = lengths[0]
    chosen = [0]
    near = sorted(range(1, len(lengths)), key=lambda i: abs(lengths[i] - lengths[0]))
    for index in near:
        low, high = min(shortest, lengths[index]), max(longest, lengths[index])
        if high > max(2 * low, low + PADDING):
            break
        if high * (len(chosen) + 1) > BATCH_TOKENS:
            continue
        shortest, longest = low, high
        chosen.append(index)
    return chosen
