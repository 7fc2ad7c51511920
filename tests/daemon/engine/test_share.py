"""A core that is told how much memory it may use, again and again: never wrong, never over it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of, warmed_at
from fastmlx.daemon.engine.kv.groups import columns_for
from fastmlx.daemon.engine.share import ACTIVATION_MIN_BYTES, MemoryShare
from fastmlx.daemon.protocol.wire import Generate, TokenRow

MIB = 1 << 20


def share_of(core, told: list[int], *, hot_bytes: int = 64 * MIB) -> MemoryShare:
    return MemoryShare(
        core,
        weights_bytes=0,
        kv_bytes_per_token=1024,
        hot_bytes=hot_bytes,
        set_limit=told.append,
    )


def test_the_hot_tier_gets_what_running_sequences_leave(tiny_model: Callable[..., Path]):
    core = core_at(tiny_model("qwen3"), hot_bytes=64 * MIB, max_kv_tokens=1 << 20)
    told: list[int] = []
    share = share_of(core, told)
    share.limit(ACTIVATION_MIN_BYTES + 10 * MIB)
    assert told == [ACTIVATION_MIN_BYTES + 10 * MIB]
    assert core.scheduler.max_kv_tokens == 10 * MIB // 1024
    assert core.reuse.cache.hot_bytes == 10 * MIB
    share.limit(ACTIVATION_MIN_BYTES + 500 * MIB)
    assert core.reuse.cache.hot_bytes == 64 * MIB
    share.limit(0)
    assert core.scheduler.max_kv_tokens == 1
    assert core.reuse.cache.hot_bytes == 1  # and the tier is still wanted


def test_free_places_of_a_group_do_not_keep_others_waiting(tiny_model: Callable[..., Path]):
    """Buffers have places for a power of two: five rows fit, and so does one more than four that
    were five."""
    folder = tiny_model("qwen3")
    core = core_at(folder, max_kv_tokens=1 << 20)
    bytes_per_token = warmed_at(folder).kv_bytes_per_token
    share = MemoryShare(
        core, weights_bytes=0, kv_bytes_per_token=bytes_per_token, hot_bytes=0, set_limit=unbounded
    )
    share.limit(ACTIVATION_MIN_BYTES + int(1.1 * bytes_per_token * columns_for([112] * 5)))
    prompts = [[10 + number] * 20 for number in range(6)]
    ended: list[int] = []

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        share.keep()
        ended.extend(n for n in rows if rows[n][-1].finish is not None and n not in ended)
        if ended and len(ended) + core.num_running + core.num_waiting < 6:
            core.add(Generate(5, prompts[5], greedy(5)))

    requests = [Generate(n, prompts[n], greedy(60 if n else 8)) for n in range(5)]
    rows = run(core, requests, on_step=watch)
    assert ended[:2] == [0, 5], "it waited for more to leave"
    for number in (4, 5):
        assert_same(tokens_of(rows[number]), *alone(folder, prompts[number], len(rows[number])))


def test_freed_memory_is_given_back_when_the_room_gets_scarce_or_nothing_runs(
    tiny_model: Callable[..., Path],
):
    core = core_at(tiny_model("qwen3"), hot_bytes=64 * MIB, max_kv_tokens=1 << 20)
    told: list[int] = []

    def tidy(free_bytes: int) -> int:
        told.append(free_bytes)
        return 2 * MIB

    share = MemoryShare(
        core,
        weights_bytes=0,
        kv_bytes_per_token=1024,
        hot_bytes=64 * MIB,
        set_limit=unbounded,
        tidy=tidy,
    )
    share.limit(ACTIVATION_MIN_BYTES + 10 * MIB)
    assert told.pop() == 10 * MIB
    assert core.scheduler.max_kv_tokens == 8 * MIB // 1024
    run(core, [Generate(1, list(range(3, 43)), sampling=greedy(4))])
    share.keep()
    assert told.pop() == 10 * MIB - core.kv_bytes - core.reuse.cache.tree.nbytes < 10 * MIB
    share.rest()
    assert told.pop() == 0


@pytest.mark.parametrize("arch", ["qwen3", "qwen3_5"])
def test_answers_are_the_same_while_the_limit_changes_all_the_time(
    tiny_model: Callable[..., Path], arch: str
):
    folder = tiny_model(arch)
    chance = random.Random(5)
    shared = [chance.randrange(3, 500) for _ in range(40)]
    asked = [
        [*shared[: 8 * (n % 5)], *(chance.randrange(3, 500) for _ in range(20))] for n in range(12)
    ]
    core = core_at(folder, hot_bytes=64 * MIB, max_kv_tokens=1 << 20)
    share = share_of(core, [])

    def on_step(step: int, rows: object) -> None:
        if step % 3 == 0:
            tokens = chance.choice([40, 90, 200, 100_000])
            share.limit(ACTIVATION_MIN_BYTES + columns_for([tokens]) * 1024)
        share.keep()

    requests = [Generate(n, p, sampling=greedy(12)) for n, p in enumerate(asked)]
    rows = run(core, requests, join_every=2, on_step=on_step)
    assert core.scheduler.preemptions > 0
    for n, p in enumerate(asked):
        assert_same(tokens_of(rows[n]), *alone(folder, p, 12))


def test_a_mixed_load_stays_within_the_limit_that_was_told(tiny_model: Callable[..., Path]):
    import mlx.core as mx

    folder = tiny_model("qwen3", num_hidden_layers=4, num_key_value_heads=4, head_dim=64)
    chance = random.Random(11)
    core = core_at(folder, hot_bytes=64 * MIB, max_kv_tokens=1 << 20, max_concurrent=16)
    limit = ACTIVATION_MIN_BYTES + 12 * MIB
    before = mx.get_active_memory()
    share = MemoryShare(
        core, weights_bytes=0, kv_bytes_per_token=8192, hot_bytes=64 * MIB, set_limit=unbounded
    )
    share.limit(limit)
    most = 0

    def on_step(step: int, rows: object) -> None:
        nonlocal most
        share.keep()
        most = max(most, mx.get_active_memory() - before)

    asked = [
        [chance.randrange(3, 500) for _ in range(chance.choice([20, 150, 600]))] for _ in range(24)
    ]
    rows = run(
        core,
        [Generate(n, p, sampling=greedy(chance.randrange(1, 40))) for n, p in enumerate(asked)],
        join_every=2,
        on_step=on_step,
    )
    assert all(rows[n][-1].finish for n in range(24))
    assert core.scheduler.short
    assert most <= 1.05 * limit
    core.reuse.clear(hot=True, cold=True)


def unbounded(limit_bytes: int) -> None:
    """The allocator of this process is everybody's."""
