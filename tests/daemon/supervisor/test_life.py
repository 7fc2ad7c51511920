"""Loading, sharing, idling, unloading: the quiet days of an engine."""

from __future__ import annotations

import asyncio
import math

import pytest
from bad_engine import HANG, REJECT, REJECT_BAD, expected
from fastmlx.daemon.protocol.errors import (
    BadRequest,
    FastMLXError,
    ModelFailed,
    ModelNotFound,
    Overloaded,
)
from fastmlx.daemon.supervisor.status import State
from houses import House, alive, start, tokens_of


async def test_the_first_request_loads_the_model_and_waits_for_it(house: House):
    await house.declare("a", behaviour={"load_s": 0.2})
    assert house.status("a").state is State.STOPPED
    assert house.status("a").architecture == "llama"
    assert house.status("a").context == 4096

    request = asyncio.create_task(house.ask("a", [1, 2, 3], 5))
    await house.until(lambda: house.status("a").loading is not None)
    await house.until(lambda: house.status("a").pid is not None)
    status = house.status("a")
    assert (status.state, status.requests_waiting, status.requests_running) == ("starting", 1, 0)

    assert await request == expected([1, 2, 3], 5)
    status = house.status("a")
    assert status.state is State.READY
    assert status.loading is None
    assert status.output_tokens == 5
    assert status.idle_s is not None
    assert status.memory_bytes > 1_000_000  # a Python process has that at least


async def test_many_requests_share_one_engine(house: House):
    await house.declare("a")
    prompts = [[i, 2 * i] for i in range(20)]
    answers = await asyncio.gather(*(house.ask("a", p, 10 + p[0]) for p in prompts))
    assert answers == [expected(p, 10 + p[0]) for p in prompts]
    assert house.starts("a") == 1


async def test_an_alias_is_the_same_model(house: House):
    await house.declare("a", aliases=["gpt"])
    async with house.supervisor.lease("gpt") as lease:
        assert lease.name == "a"
        assert lease.ready.context == 4096
        assert lease.folder == house.folder("a")


async def test_unknown_models_are_not_found(house: House):
    await house.declare("a")
    with pytest.raises(ModelNotFound, match=r"no model 'b'.*Declared: a"):
        async with house.supervisor.lease("b"):
            pass


async def test_an_idle_model_is_unloaded_and_loaded_again_by_the_next_request(house: House):
    await house.declare("a", idle_timeout_s=0.1)
    await house.ask("a", [1], 3)
    pid = house.status("a").pid
    assert pid is not None
    await house.until(lambda: house.status("a").state is State.STOPPED)
    assert not alive(pid)
    assert house.status("a").memory_bytes == 0
    assert await house.ask("a", [1], 3) == expected([1], 3)
    assert house.starts("a") == 2


async def test_a_running_request_keeps_its_model_past_the_idle_timeout(house: House):
    await house.declare("a", idle_timeout_s=0.05, behaviour={"step_s": 0.02})
    assert await house.ask("a", [1], 20) == expected([1], 20)
    assert house.starts("a") == 1


async def test_pinned_and_never_idle_models_stay(house: House):
    await house.declare("pinned", idle_timeout_s=0.02, pinned=True)
    await house.declare("never", idle_timeout_s=math.inf)
    await asyncio.gather(house.ask("pinned", [1], 1), house.ask("never", [1], 1))
    await asyncio.sleep(0.2)
    assert [s.state for s in house.supervisor.status()] == [State.READY, State.READY]


async def test_a_shorter_idle_timeout_applies_to_a_loaded_model(house: House):
    await house.declare("a", idle_timeout_s=900)
    await house.ask("a", [1], 1)
    await house.declare("a", idle_timeout_s=0.05)
    await house.until(lambda: house.status("a").state is State.STOPPED)


async def test_the_last_lease_says_how_long_its_model_stays(house: House):
    await house.declare("a", idle_timeout_s=900)
    async with house.supervisor.lease("a", keep_alive_s=math.inf):
        pass
    assert house.status("a").idle_timeout_s == math.inf
    async with house.supervisor.lease("a"):
        pass
    assert house.status("a").idle_timeout_s == 900
    async with house.supervisor.lease("a", keep_alive_s=0):
        async with house.supervisor.lease("a", keep_alive_s=0):
            pass
        await asyncio.sleep(0.05)
        assert house.status("a").state is State.READY
    await house.until(lambda: house.status("a").state is State.STOPPED)

    await house.declare("pinned", pinned=True)
    async with house.supervisor.lease("pinned", keep_alive_s=0):
        pass
    assert house.status("pinned").idle_timeout_s == math.inf


async def test_load_and_unload_by_hand(house: House):
    await house.declare("a")
    await house.supervisor.load("a")
    pid = house.status("a").pid
    assert pid is not None
    await house.supervisor.load("a")
    assert house.status("a").pid == pid
    await house.supervisor.unload("a")
    assert house.status("a").state is State.STOPPED
    assert not alive(pid)
    await house.supervisor.unload("a")  # nothing to do


async def test_unload_lets_running_requests_end_and_later_ones_load_again(house: House):
    await house.declare("a", behaviour={"step_s": 0.01})
    async with house.supervisor.lease("a") as lease:
        running = start(lease, [1], 20)
        await anext(running)
        unload = asyncio.create_task(house.supervisor.unload("a"))
        await house.until(lambda: house.status("a").state is State.STOPPING)
        later = asyncio.create_task(house.ask("a", [2], 3))
        assert await tokens_of(running) == expected([1], 20)[1:]
        assert not unload.done()
    await unload
    assert await later == expected([2], 3)
    assert house.starts("a") == 2


async def test_unload_during_a_load_ends_it_and_tells_who_waits(house: House):
    await house.declare("a", behaviour={"load_s": 5.0})
    request = asyncio.create_task(house.ask("a", [1], 1))
    await house.until(lambda: house.starts("a") == 1)
    await house.supervisor.unload("a")
    with pytest.raises(Overloaded, match="unloaded while it loaded"):
        await request
    assert house.status("a").state is State.STOPPED


async def test_a_client_that_leaves_while_the_model_loads_does_not_stop_the_load(house: House):
    await house.declare("a", behaviour={"load_s": 0.15})
    gone = asyncio.create_task(house.ask("a", [1], 1))
    stays = asyncio.create_task(house.ask("a", [2], 4))
    await house.until(lambda: house.starts("a") == 1)
    gone.cancel()
    assert await stays == expected([2], 4)
    assert house.status("a").requests_waiting == 0
    assert house.starts("a") == 1


async def test_a_load_goes_on_when_everyone_has_left(house: House):
    await house.declare("a", behaviour={"load_s": 0.15}, idle_timeout_s=0.1)
    gone = asyncio.create_task(house.ask("a", [1], 1))
    await house.until(lambda: house.starts("a") == 1)
    gone.cancel()
    await house.until(lambda: house.status("a").state is State.READY)
    await house.until(lambda: house.status("a").state is State.STOPPED)  # the idle timer runs


async def test_an_aborted_sequence_leaves_the_engine_and_others_go_on(house: House):
    await house.declare("a", behaviour={"step_s": 0.005})
    async with house.supervisor.lease("a") as lease:
        dropped, kept = start(lease, [1], 1000), start(lease, [2], 30)
        await anext(dropped)
        dropped.abort()
        dropped.abort()  # the engine asserts that it hears of it once
        assert await tokens_of(dropped) == []
        assert await tokens_of(kept) == expected([2], 30)


async def test_giving_a_lease_back_aborts_what_still_runs(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        forgotten = start(lease, [1], 100_000)
        await anext(forgotten)
    assert forgotten.done
    assert await house.ask("a", [2], 3) == expected([2], 3)


async def test_the_engine_may_reject_one_sequence(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        with pytest.raises(BadRequest, match="no such thing"):
            await tokens_of(start(lease, [REJECT_BAD], 5))
        with pytest.raises(FastMLXError, match="no such thing"):
            await tokens_of(start(lease, [REJECT], 5))
        assert await tokens_of(start(lease, [1], 5)) == expected([1], 5)


async def test_what_cannot_be_told_to_the_engine_is_refused_and_takes_no_place(house: House):
    await house.declare("a", max_concurrent=1)
    async with house.supervisor.lease("a") as lease:
        for _ in range(10):
            with pytest.raises(BadRequest, match="a number in it is too large"):
                await tokens_of(start(lease, [2**70], 5))
        assert await tokens_of(start(lease, [1], 5)) == expected([1], 5)
    assert house.status("a").restarts == 0


async def test_the_queue_is_bounded_and_says_when_to_come_again(house: House):
    await house.declare("a", max_concurrent=2, max_waiting=1, behaviour={"load_s": 0.1})
    requests = [asyncio.create_task(house.ask("a", [HANG, 0, i], 1)) for i in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="max_waiting 1") as refused:
        await house.ask("a", [1], 1)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1.0

    await house.until(lambda: house.status("a").requests_running == 2)
    assert house.status("a").requests_waiting == 1  # in the engine, for a row of the batch
    with pytest.raises(Overloaded):
        await house.ask("a", [1], 1)
    requests.pop().cancel()
    await asyncio.sleep(0.01)
    assert await house.ask("a", [1], 4) == expected([1], 4)
    for request in requests:
        request.cancel()


async def test_the_first_request_of_a_model_without_a_queue_still_loads_it(house: House):
    await house.declare("a", max_concurrent=1, max_waiting=0)
    assert await house.ask("a", [1], 2) == expected([1], 2)


async def test_stopping_drains_then_ends_what_is_left(house: House):
    await house.declare("a", behaviour={"step_s": 0.01})
    short = asyncio.create_task(house.ask("a", [1], 10))
    endless = asyncio.create_task(house.ask("a", [2], 1_000_000))
    await house.until(lambda: house.status("a").requests_running == 2)
    pid = house.status("a").pid
    assert pid is not None
    await house.supervisor.stop(0.5)
    assert await short == expected([1], 10)
    with pytest.raises(Overloaded, match="stopped"):
        await endless
    assert not alive(pid)
    with pytest.raises(Overloaded, match="shutting down"):
        await house.ask("a", [1], 1)


async def test_a_stop_that_is_cancelled_can_be_hurried(house: House):
    await house.declare("a")
    endless = asyncio.create_task(house.ask("a", [2], 1_000_000))
    await house.until(lambda: house.status("a").requests_running == 1)
    patient = asyncio.create_task(house.supervisor.stop(60.0))
    await asyncio.sleep(0.05)
    patient.cancel()
    await house.supervisor.stop(0.0)
    assert house.status("a").pid is None
    with pytest.raises(Overloaded):
        await endless


async def test_an_engine_that_ignores_stop_and_its_children_are_killed(house: House):
    await house.declare("a", behaviour={"ignore_stop": True, "grandchild": True})
    await house.supervisor.load("a")
    grandchild = int((house.folder("a") / "grandchild.txt").read_text())
    assert alive(grandchild)
    await house.supervisor.unload("a")
    assert house.status("a").state is State.STOPPED
    await house.until(lambda: not alive(grandchild))


async def test_broken_folders_fail_with_the_reason_and_work_when_repaired(house: House):
    await house.declare("a")
    weights = house.folder("a") / "model.safetensors"
    weights.rename(weights.with_name("away"))
    with pytest.raises(ModelFailed, match="no weights"):
        await house.ask("a", [1], 1)
    assert house.status("a").state is State.FAILED
    assert "no weights" in (house.status("a").error or "")
    weights.with_name("away").rename(weights)
    assert await house.ask("a", [1], 2) == expected([1], 2)
    assert house.status("a").error is None


async def test_a_model_that_is_not_there_can_still_be_declared(house: House):
    await house.declare("lost", path=str(house.home.root / "nowhere"))
    assert "does not exist" in (house.status("lost").error or "")
    with pytest.raises(ModelFailed, match="does not exist"):
        await house.ask("lost", [1], 1)


async def test_changes_are_reported_but_not_for_every_token(house: House):
    await house.declare("a", behaviour={"step_s": 0.0})
    await house.ask("a", [1], 500)
    await asyncio.sleep(0.1)
    assert 2 <= house.changes < 30
