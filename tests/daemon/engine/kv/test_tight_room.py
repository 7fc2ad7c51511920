"""What makes room for a prefix must not pull away the ground that the prefix stands on."""

from __future__ import annotations

import mlx.core as mx
import pytest
from fastmlx.daemon.engine.kv.payload import Checkpoint, Span
from fastmlx.daemon.engine.kv.prefix_cache import PrefixCache
from fastmlx.daemon.engine.kv.prefix_tree import tokens_of
from mlx_lm.models.cache import ArraysCache, KVCache

LENGTH = 96
STATE = Checkpoint([[mx.zeros((1, 100))]])  # 400 bytes


def span_of(start: int, end: int) -> Span:
    part = mx.zeros((1, 1, end - start, 1))
    return Span([(part, part)])  # 8 bytes a token


@pytest.mark.parametrize("hot_bytes", range(100, 2600, 50))
def test_with_room_for_some_checkpoints_only_the_books_balance(hot_bytes: int) -> None:
    """Every limit from less than one checkpoint to more than all: at some of them the one that is
    kept evicts the next, at others a node goes again because nothing leads to it any more."""
    cache = PrefixCache([KVCache(), ArraysCache(1)], hot_bytes)
    tokens = tokens_of(list(range(LENGTH)))
    for positions in ((LENGTH,), (32, 64, LENGTH), (32, 48, 80), (16, 64)):
        cache.put(b"", tokens, span_of, dict.fromkeys(positions, STATE))
        cache.check()
    cache.clear()
    assert cache.nbytes == 0


def test_a_limit_that_fell_while_all_was_in_use_is_kept_when_it_no_longer_is() -> None:
    cache = PrefixCache([KVCache()], 8 * LENGTH)
    tokens = tokens_of(list(range(LENGTH)))
    cache.put(b"", tokens, span_of, {})
    node = cache.tree.match(b"", tokens).path[-1]
    cache.tree.acquire(node)
    cache.resize(8 * LENGTH // 2)
    assert cache.nbytes == 8 * LENGTH
    cache.check()
    cache.tree.release(node)
    cache.check()
    assert cache.nbytes <= cache.hot_bytes
