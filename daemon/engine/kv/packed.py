"""Several short prompts computed in one forward, left-padded to the longest.

Reading the weights once for eight prompts costs little more than for one. Only whole prompts, only
caches that hold nothing but keys and values, and only within the smallest window: then a row of
the padded batch is cut out as it is.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import (
    BatchKVCache,
    BatchRotatingKVCache,
    CacheList,
    KVCache,
    RotatingKVCache,
)

from .pack import Pack
from .ragged import LayerCaches, leaves

MAX_TOKENS = 512  # longer prompts fill the device by themselves
MAX_ROWS = 16
PADDING = 32  # tokens of padding that are never too many


def limit(empty: LayerCaches) -> int:
    """The longest prompt, in tokens, that may be packed; 0 when caches of this kind cannot be."""
    longest = MAX_TOKENS
    for leaf in leaves(empty):
        if type(leaf) is RotatingKVCache and leaf.keep == 0:
            longest = min(longest, leaf.max_size)
        elif type(leaf) is not KVCache:
            return 0
    return longest


def packs(lengths: list[int]) -> list[list[int]]:
    """Which prompts go together: lists of indices into `lengths`, pure.

    Padding at most doubles a row, or is at most PADDING tokens.
    """
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        length = lengths[index]
        if found and len(found[-1]) < MAX_ROWS:
            longest = lengths[found[-1][0]]
            if longest <= max(2 * length, length + PADDING):
                found[-1].append(index)
                continue
        found.append([index])
    return found


def prefill(model: nn.Module, prompts: list[list[int]], rows: list[LayerCaches]) -> Pack:
    """Computes each prompt into its row's empty caches, in one forward; nothing is evaluated."""
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    batch = [_batched(cache, padding) for cache in rows[0]]
    tokens = [[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]
    model(mx.array(tokens), cache=batch)
    parts = leaves(batch)
    for row, caches in enumerate(rows):
        for source, target in zip(parts, leaves(caches), strict=True):
            if source.keys is None:  # a layer without attention
                continue
            target.keys = source.keys[row : row + 1, :, padding[row] : longest]
            target.values = source.values[row : row + 1, :, padding[row] : longest]
            target.offset = longest - padding[row]
            if isinstance(target, RotatingKVCache):
                target._idx = target.offset
    pairs = [None if part.keys is None else (part.keys, part.values) for part in parts]
    return Pack(pairs, longest)


def _batched(cache: Any, padding: list[int]) -> Any:
    if isinstance(cache, CacheList):
        return CacheList(*(_batched(part, padding) for part in cache.caches))
    if isinstance(cache, RotatingKVCache):
        return BatchRotatingKVCache(cache.max_size, padding)
    return BatchKVCache(padding)
