"""Engines that die, in every way a bad engine knows."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from bad_engine import CRASH, CRASH_IN_PAIRS, GARBAGE, expected
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.errors import EngineDied, ModelFailed
from fastmlx.daemon.supervisor.status import State
from houses import TIMING, House, alive, start, tokens_of


def kill(house: House, name: str) -> None:
    pid = house.status(name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_streams_survive_a_kill_without_a_lost_or_doubled_token(house: House):
    await house.declare("a", behaviour={"step_s": 0.003})
    async with house.supervisor.lease("a") as lease:
        prompts = [[i, i + 1] for i in range(8)]
        streams = [start(lease, prompt, 40) for prompt in prompts]
        answers = asyncio.gather(*(tokens_of(stream) for stream in streams))
        await house.until(lambda: len(streams[0].output) > 10)
        kill(house, "a")
        await house.until(lambda: house.status("a").restarts == 1)
        assert house.status("a").state is State.STARTING
        assert "SIGKILL" in (house.status("a").error or "")
        assert await answers == [expected(prompt, 40) for prompt in prompts]
    status = house.status("a")
    assert (status.restarts, status.error, status.output_tokens) == (1, None, 8 * 40)


async def test_the_cache_hit_of_a_replay_is_not_reported_a_second_time(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        stream = start(lease, [1], 60)
        rows = [await anext(stream) for _ in range(5)]
        kill(house, "a")
        rows += [row async for row in stream]
    assert house.starts("a") == 2
    assert [row.cached_tokens for row in rows] == [5] + [0] * (len(rows) - 1)


async def test_a_request_that_comes_while_the_engine_restarts_waits_for_it(house: House):
    await house.declare("a", behaviour={"load_s": 0.1})
    await house.supervisor.load("a")
    kill(house, "a")
    await house.until(lambda: house.status("a").state is State.STARTING)
    assert await house.ask("a", [3], 4) == expected([3], 4)


async def test_an_idle_engine_that_is_killed_comes_back(house: House):
    await house.declare("a")
    await house.supervisor.load("a")
    kill(house, "a")
    await house.until(lambda: house.status("a").restarts == 1)
    await house.until(lambda: house.status("a").state is State.READY)


async def test_the_poison_alone_fails_and_everyone_else_finishes(house: House):
    await house.declare("a", behaviour={"step_s": 0.002})
    async with house.supervisor.lease("a") as lease:
        good = [start(lease, [i], 60) for i in range(1, 6)]
        poison = start(lease, [CRASH, 5], 60)
        answers = asyncio.gather(*(tokens_of(stream) for stream in good))
        got: list[int] = []
        with pytest.raises(EngineDied, match=r"died 3 times while it ran this request.*SIGKILL"):
            async for row in poison:
                got += row.tokens
        assert got == expected([CRASH, 5], 5)
        assert await answers == [expected([i], 60) for i in range(1, 6)]


async def test_a_poison_that_runs_alone_is_known_at_the_second_death(house: House):
    await house.declare("a")
    with pytest.raises(EngineDied, match="died 2 times"):
        await house.ask("a", [CRASH, 0], 5)
    assert house.starts("a") == 2
    assert await house.ask("a", [1], 5) == expected([1], 5)
    assert house.status("a").state is State.READY


async def test_of_two_that_are_fatal_only_together_one_is_given_up_and_one_finishes(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        prompts = [[CRASH_IN_PAIRS, 20, i] for i in range(2)]
        pair = [tokens_of(start(lease, prompt, 40)) for prompt in prompts]
        first, second = await asyncio.gather(*pair, return_exceptions=True)
    assert first == expected(prompts[0], 40)
    assert isinstance(second, EngineDied)
    assert house.starts("a") == 4


async def test_an_engine_that_sends_garbage_is_replaced(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        good, bad = start(lease, [1], 50), start(lease, [GARBAGE, 3], 50)
        failed = asyncio.create_task(tokens_of(bad))
        assert await tokens_of(good) == expected([1], 50)
        with pytest.raises(EngineDied, match="no message"):
            await failed


async def test_three_deaths_before_ready_mean_failed_with_the_last_words(
    house: House, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    await house.declare("a", behaviour={"load": "crash"})
    requests = [asyncio.create_task(house.ask("a", [i], 1)) for i in range(3)]
    for request in requests:
        with pytest.raises(ModelFailed, match="died 3 times before it was ready"):
            await request
    assert house.starts("a") == 3
    status = house.status("a")
    assert status.state is State.FAILED
    assert status.pid is None
    assert "SIGABRT" in (status.error or "")
    assert "Metal ran out of patience" in (status.error or "")
    printed = [r for r in caplog.records if r.getMessage() == "Metal ran out of patience"]
    assert [record.__dict__["model"] for record in printed] == ["a"] * 3

    with pytest.raises(ModelFailed):  # at once, without a fourth try
        await house.ask("a", [1], 1)
    assert house.starts("a") == 3


async def test_a_failed_model_is_tried_again_when_its_spec_changes_or_on_demand(house: House):
    await house.declare("a", behaviour={"load": "exit"})
    with pytest.raises(ModelFailed, match="ended by itself with status 3"):
        await house.ask("a", [1], 1)
    await house.declare("a", system_prompt="hello")  # says nothing about the engine
    with pytest.raises(ModelFailed):
        await house.ask("a", [1], 1)
    assert house.starts("a") == 3

    await house.declare("a", context=512, behaviour={})
    assert house.status("a").state is State.STOPPED
    assert await house.ask("a", [1], 2) == expected([1], 2)

    await house.declare("b", behaviour={"load": "exit"})
    with pytest.raises(ModelFailed):
        await house.supervisor.load("b")
    house.behave("b")
    await house.supervisor.load("b")
    assert house.status("b").state is State.READY
    assert house.status("b").error is None


async def test_two_deaths_before_ready_are_forgiven(house: House):
    await house.declare("a", behaviour={"load": "crash", "fine_after": 2})
    assert await house.ask("a", [1], 2) == expected([1], 2)
    assert house.status("a").restarts == 2


async def test_a_load_that_failed_is_not_repeated_and_does_not_linger(house: House):
    await house.declare("a", behaviour={"load": "fail"})
    with pytest.raises(ModelFailed, match="architecture 'weird' is not known"):
        await house.ask("a", [1], 1)
    assert house.starts("a") == 1
    assert house.status("a").state is State.FAILED


async def test_a_load_that_says_nothing_for_too_long_counts_as_a_death(
    make_house: Callable[..., House],
):
    house = make_house(timing=msgspec.structs.replace(TIMING, load_silence_s=0.3))
    await house.declare("a", behaviour={"load": "hang", "fine_after": 1})
    assert await house.ask("a", [1], 2) == expected([1], 2)
    assert house.starts("a") == 2


async def test_a_hanging_load_can_be_unloaded(house: House):
    await house.declare("a", behaviour={"load": "hang"})
    request = asyncio.create_task(house.ask("a", [1], 1))
    await house.until(lambda: house.starts("a") == 1)
    await house.supervisor.unload("a")
    await asyncio.wait({request})
    assert request.exception() is not None


async def test_streams_end_when_the_engine_cannot_be_started_again(house: House):
    await house.declare("a", behaviour={"step_s": 0.005})
    async with house.supervisor.lease("a") as lease:
        stream = start(lease, [1], 1000)
        await anext(stream)
        house.behave("a", load="crash")
        kill(house, "a")
        with pytest.raises(ModelFailed, match="before it was ready"):
            await tokens_of(stream)
        with pytest.raises(ModelFailed):
            await tokens_of(start(lease, [1], 1))


async def test_a_command_that_does_not_exist_is_a_failed_model(make_house: Callable[..., House]):
    house = make_house(command=["/does/not/exist"])
    await house.declare("a")
    with pytest.raises(ModelFailed, match="could not be started"):
        await house.ask("a", [1], 1)


FRONT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from houses import House

async def main():
    house = House(Path(sys.argv[2]))
    await house.declare("a", behaviour={"ignore_stop": True})
    async with house.supervisor.lease("a") as lease:
        print(house.status("a").pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_when_the_front_is_killed_its_engines_end_by_themselves(tmp_path: Path):
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", FRONT, str(tests), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        engine = int(front.stdout.readline())
        assert alive(engine)
        front.kill()
    end = time.monotonic() + 3
    while alive(engine):
        assert time.monotonic() < end, "the engine is an orphan"
        time.sleep(0.01)


def test_all_this_works_on_the_event_loop_that_sanic_brings(tmp_path: Path):
    """uvloop has its own subprocesses and transports."""

    async def story() -> None:
        house = House(tmp_path)
        await house.declare("a", behaviour={"ignore_stop": True})
        async with house.supervisor.lease("a") as lease:
            answer = asyncio.create_task(tokens_of(start(lease, [1], 50)))
            await house.until(lambda: house.status("a").output_tokens > 10)
            kill(house, "a")
            assert await answer == expected([1], 50)
        pid = house.status("a").pid
        await house.supervisor.stop(1.0)
        assert pid is not None
        assert not alive(pid)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


async def test_a_message_of_32_rows_costs_little(house: House):
    """The front's share of a step; 100 µs would be a tenth of a fast engine's step."""
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        streams = [start(lease, [i + 1], 10**9) for i in range(32)]
        await house.until(lambda: all(stream.output for stream in streams))
        engine = lease._engine
        message = wire.Tokens([wire.TokenRow(stream.id, [1]) for stream in streams])
        best = min(_seconds(engine._on_message, message) for _ in range(200))
        for stream in streams:
            stream.abort()
    assert best < 100e-6, f"{best * 1e6:.0f} µs"


def _seconds(function: Callable[[Any], None], argument: object) -> float:
    began = time.perf_counter()
    function(argument)
    return time.perf_counter() - began
