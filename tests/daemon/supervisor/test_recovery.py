"""Engines that hang or run out of memory, and how often and how soon all is tried again."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_engine import CRASH, FREEZE, HUNGRY, expected
from fastmlx.config.load import load
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.errors import EngineDied, ModelFailed
from fastmlx.daemon.reconcile import recovery
from fastmlx.daemon.supervisor.cache import CachePlan
from fastmlx.daemon.supervisor.recovery import Recovery, Watch, with_less_memory
from fastmlx.daemon.supervisor.status import State
from houses import MIB, RECOVERY, House, start, tokens_of
from msgspec.structs import replace


async def test_an_engine_that_hangs_is_replaced_and_its_other_requests_go_on(
    make_house: Callable[..., House],
):
    house = make_house(recovery=replace(RECOVERY, hang_s=1.5))
    await house.declare("a", behaviour={"step_s": 0.005})
    async with house.supervisor.lease("a") as lease:
        good = [start(lease, [i], 80) for i in range(1, 4)]
        answers = asyncio.gather(*(tokens_of(stream) for stream in good))
        await house.until(lambda: len(good[0].output) > 2)
        frozen = start(lease, [FREEZE, 3], 60)
        got: list[int] = []
        with pytest.raises(EngineDied, match=r"did nothing for .* s while it had"):
            async for row in frozen:
                got += row.tokens
        assert got == expected([FREEZE, 3], 3)
        assert await answers == [expected([i], 80) for i in range(1, 4)]
    assert house.status("a").restarts >= 3


async def test_an_engine_that_was_stopped_by_a_signal_is_replaced(make_house: Callable[..., House]):
    house = make_house(recovery=replace(RECOVERY, hang_s=1.5))
    await house.declare("a", behaviour={"step_s": 0.005})
    async with house.supervisor.lease("a") as lease:
        stream = start(lease, [1], 80)
        await house.until(lambda: len(stream.output) > 2)
        pid = house.status("a").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert await tokens_of(stream) == expected([1], 80)


async def test_an_idle_engine_may_be_silent_for_ever(make_house: Callable[..., House]):
    house = make_house(recovery=replace(RECOVERY, hang_s=0.1))
    await house.declare("a")
    await house.supervisor.load("a")
    await asyncio.sleep(0.5)
    assert house.status("a").state is State.READY
    assert house.status("a").restarts == 0


async def test_without_memory_an_engine_starts_again_with_half_of_everything(house: House):
    house.supervisor.set_memory_limit(1000 * MIB)
    house.supervisor.cache.set(CachePlan(800, 0, None, house.home.cache))
    await house.declare("a", max_concurrent=32)
    await house.supervisor.load("a")
    await house.until(lambda: house.told("a")[-1:] == [1000 * MIB])
    assert await house.ask("a", [HUNGRY, 16], 20) == expected([HUNGRY, 16], 20)
    assert house.status("a").restarts == 1
    # Nor is it given what it had before; its weights, of 1,000 bytes, stay whole.
    await house.until(lambda: house.told("a")[-1:] == [500 * MIB + 500])
    await house.until(lambda: house.told("a", "hot.txt")[-1:] == [400])
    # 16 of the engine that starts again are too many for this one, which leaves a long trace.
    traced = [HUNGRY, 8, 100]
    assert await house.ask("a", traced, 20) == expected(traced, 20)
    with pytest.raises(EngineDied, match="metal::malloc"):
        await house.ask("a", [HUNGRY, 0], 20)


async def test_without_memory_to_load_it_a_model_is_tried_again_with_less(house: House):
    await house.declare("a", max_concurrent=32, behaviour={"load": "starve", "fine_after": 1})
    assert await house.ask("a", [HUNGRY, 16], 20) == expected([HUNGRY, 16], 20)
    assert house.status("a").restarts == 1
    await house.declare("b", behaviour={"load": "starve"})
    with pytest.raises(ModelFailed, match=r"3 times before.*could not load.*Unable to allocate"):
        await house.ask("b", [1], 1)


async def test_a_request_may_be_given_more_attempts_while_the_daemon_runs(house: House):
    await house.declare("a")
    house.supervisor.set_recovery(replace(RECOVERY, request_attempts=4))
    with pytest.raises(EngineDied, match="died 4 times"):
        await house.ask("a", [CRASH, 5], 20)
    assert house.status("a").restarts == 4
    house.supervisor.set_recovery(RECOVERY)
    with pytest.raises(EngineDied, match="died 2 times"):
        await house.ask("a", [CRASH, 5], 20)


def test_a_watch_tells_long_work_from_a_hang():
    watch = Watch()
    quiet = {"spoke": False, "works": True, "hang_s": None}
    assert not any(watch.tick(1.0, **quiet) for _ in range(59))
    assert watch.tick(1.0, **quiet)
    watch = Watch()
    for _ in range(10):  # steps of ten seconds are what this model needs
        assert not any(watch.tick(1.0, **quiet) for _ in range(10))
        assert not watch.tick(1.0, spoke=True, works=True, hang_s=None)
    assert not any(watch.tick(1.0, **quiet) for _ in range(199))
    assert watch.tick(1.0, **quiet)


def test_a_machine_that_slept_is_not_a_hang():
    watch = Watch()
    assert not watch.tick(86400.0, spoke=False, works=True, hang_s=5.0)
    assert watch.silent_s == 2.0
    assert not any(watch.tick(1e9, spoke=False, works=True, hang_s=math.inf) for _ in range(50))


def test_less_memory_ends_at_one_sequence():
    load = wire.Load("m", "p", max_concurrent=32, hot_bytes=1000, kv_limit_bytes=None)
    for _ in range(20):
        load = with_less_memory(load)
    assert (load.max_concurrent, load.hot_bytes, load.step_tokens) == (1, 0, 64)
    assert load.kv_limit_bytes is None


def test_the_file_says_how_often_and_how_soon():
    settings = load(
        "recovery: {start_attempts: 5, request_attempts: 3, delay: 1s, max_delay: 2m, "
        "hang_timeout: never}",
        Path("config.yaml"),
    )
    assert recovery(settings) == Recovery(
        start_attempts=5, request_attempts=3, delay_s=1.0, max_delay_s=120.0, hang_s=math.inf
    )
    assert recovery(load("", Path("config.yaml"))) == Recovery()
