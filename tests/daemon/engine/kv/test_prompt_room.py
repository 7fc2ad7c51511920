"""Layers of a prompt's caches grow in turns, and none is ever too small."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
from fastmlx.daemon.engine.kv.groups import in_turns
from fastmlx.daemon.engine.kv.prompt_room import RESERVE, make_room
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import KVCache


@settings(max_examples=100, deadline=None)
@given(
    layers=st.integers(1, 80),
    chunks=st.lists(st.integers(1, RESERVE // 2), min_size=1, max_size=60),
    columns=st.integers(RESERVE, 4 * RESERVE),
)
def test_no_layer_overflows_and_no_chunk_pays_for_all(
    layers: int, chunks: list[int], columns: int
) -> None:
    free = [columns] * layers
    most = max(chunks)
    for tokens in chunks:
        grown = in_turns(free, most, RESERVE)
        assert len(grown) == len(set(grown)) <= math.ceil(layers * most / RESERVE)
        for index in grown:
            free[index] += 2 * RESERVE + most
        free = [each - tokens for each in free]
        assert min(free) >= 0


def test_what_is_in_a_cache_stays_when_it_grows() -> None:
    cache = KVCache()
    total = 1500
    keys = mx.random.normal((1, 2, total, 4))
    for start in range(0, total, 100):
        make_room([cache], 100, total)
        chunk = keys[:, :, start : start + 100]
        cache.update_and_fetch(chunk, chunk * 2)
    state: Any = cache.state
    assert mx.array_equal(state[0][:, :, :total], keys)
    assert mx.array_equal(state[1][:, :, :total], keys * 2)
