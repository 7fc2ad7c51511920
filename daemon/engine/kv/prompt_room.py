"""Room in the caches of a prompt that is computed in chunks, made for a few layers at a time.

mlx-lm's KVCache grows when it is full, by copying all that it holds, and it is full in every layer
at the same token: running streams would wait for all the copies at once. Here layers grow before
they are full, some in each step, so that none of them has to when another one does:

    layer 0   |=========|....|              grown at this chunk
    layer 1   |=========|                   at the next one
    layer 2   |=========|                   at the one after it, when as many tokens are left
                        ^ full                                         as a chunk needs
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache

from .base import own_of
from .groups import GROWTH, in_turns
from .ragged import LayerCaches, leaves

RESERVE = 256  # columns before the end at which the first layer grows
LEAST = 512  # columns that a layer gets at a time


def make_room(caches: LayerCaches, tokens: int, total: int) -> None:
    """Before the next chunk of so many `tokens` of a prompt of `total`. Lazy."""
    growing: list[tuple[Any, int]] = []  # with the tokens that the layer will hold
    for leaf in leaves(caches):
        own = own_of(leaf)
        if type(own) is KVCache and own.keys is not None:
            in_all = own.offset + total - leaf.offset
            if own.keys.shape[2] < in_all:
                growing.append((own, in_all))
    free = [own.keys.shape[2] - own.offset for own, _ in growing]
    for index in in_turns(free, tokens, RESERVE):
        own, in_all = growing[index]
        columns = own.offset + max(tokens, LEAST, own.offset // 2)
        columns = min(columns, in_all + GROWTH)
        own.keys = _with_columns(own.keys, own.offset, columns)
        own.values = _with_columns(own.values, own.offset, columns)


def _with_columns(array: mx.array, held: int, columns: int) -> mx.array:
    return mx.pad(array[..., :held, :], [(0, 0), (0, 0), (0, columns - held), (0, 0)])
