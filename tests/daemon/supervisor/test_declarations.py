"""Models that come, change and go while requests run."""

from __future__ import annotations

import asyncio

import pytest
from bad_engine import expected
from fastmlx.daemon.protocol.errors import ModelFailed, ModelNotFound
from fastmlx.daemon.supervisor.status import State
from houses import House, alive, start, tokens_of


async def test_a_live_change_leaves_the_engine_alone(house: House):
    await house.declare("a")
    await house.ask("a", [1], 1)
    pid = house.status("a").pid
    await house.declare("a", aliases=["b"], system_prompt="hello", pinned=True, max_waiting=3)
    status = house.status("a")
    assert (status.pid, status.aliases, status.pinned, status.max_waiting) == (pid, ("b",), True, 3)
    assert await house.ask("b", [1], 2) == expected([1], 2)
    assert house.starts("a") == 1


async def test_the_largest_gap_is_told_to_a_running_engine_and_to_the_next_one(house: House):
    def tuned() -> list[str]:
        path = house.folder("a") / "tuned.txt"
        return path.read_text().split() if path.exists() else []

    await house.declare("a")
    await house.ask("a", [1], 1)
    assert tuned() == [], "an engine begins with the default"
    await house.declare("a", max_gap_s=0.1)
    await house.until(lambda: tuned() == ["0.1"])
    await house.declare("a", max_gap_s=0.1, pinned=True)
    await house.supervisor.unload("a")
    await house.ask("a", [1], 1)
    await house.until(lambda: tuned() == ["0.1", "0.1"])
    await house.declare("a")
    await house.until(lambda: tuned() == ["0.1", "0.1", "None"])
    assert house.starts("a") == 2


async def test_what_an_engine_found_out_is_told_to_the_next_one(house: House):
    await house.declare("a")
    await house.ask("a", [1], 1)
    await house.supervisor.unload("a")
    await house.ask("a", [1], 1)
    async with house.supervisor.lease("a") as lease:
        assert lease.ready.warmed is not None
        assert lease.ready.warmed.model == b"11", "each adds a 1 to what it was told"


async def test_a_reload_waits_for_running_requests_and_holds_new_ones(house: House):
    await house.declare("a", behaviour={"step_s": 0.01})
    async with house.supervisor.lease("a") as lease:
        running = start(lease, [1], 20)
        await anext(running)
        await house.declare("a", context=1024)  # returns at once
        later = asyncio.create_task(house.ask("a", [2], 3))
        assert await tokens_of(running) == expected([1], 20)[1:]
        assert house.starts("a") == 1
        assert not later.done()
    assert await later == expected([2], 3)
    assert house.starts("a") == 2


async def test_a_loaded_model_whose_entry_changed_is_loaded_again(house: House):
    await house.declare("a")
    await house.ask("a", [1], 1)
    await house.declare("a", max_concurrent=8)
    await house.until(lambda: house.starts("a") == 2)
    await house.until(lambda: house.status("a").state is State.READY)


async def test_an_edit_that_is_taken_back_while_requests_run_costs_nothing(house: House):
    await house.declare("a")
    async with house.supervisor.lease("a") as lease:
        await anext(start(lease, [1], 100_000))
        await house.declare("a", context=1024)
        assert house.status("a").state is State.STOPPING
        await house.declare("a")
    assert await house.ask("a", [1], 2) == expected([1], 2)
    assert house.starts("a") == 1


async def test_a_change_during_a_load_starts_the_new_one(house: House):
    await house.declare("a", behaviour={"load": "hang", "fine_after": 1})
    request = asyncio.create_task(house.ask("a", [1], 2))
    await house.until(lambda: house.starts("a") == 1)
    await house.declare("a", context=1024)
    assert await request == expected([1], 2)


async def test_a_withdrawn_model_finishes_its_streams_and_takes_no_new_ones(house: House):
    await house.declare("a", behaviour={"step_s": 0.01})
    async with house.supervisor.lease("a") as lease:
        running = start(lease, [1], 20)
        await anext(running)
        pid = house.status("a").pid
        await house.supervisor.withdraw("a")
        with pytest.raises(ModelNotFound):
            await house.ask("a", [2], 1)
        assert house.status("a").state is State.STOPPING
        assert await tokens_of(running) == expected([1], 20)[1:]
    assert pid is not None
    await house.until(lambda: not house.supervisor.status())
    assert not alive(pid)


async def test_withdrawing_a_model_that_loads_ends_the_load_and_those_who_wait(house: House):
    await house.declare("a", behaviour={"load": "hang"})
    request = asyncio.create_task(house.ask("a", [1], 1))
    await house.until(lambda: house.starts("a") == 1)
    await house.supervisor.withdraw("a")
    with pytest.raises(ModelNotFound):
        await request
    await house.until(lambda: not house.supervisor.status())


async def test_a_name_can_be_declared_again_while_the_old_one_finishes(house: House):
    await house.declare("a", behaviour={"step_s": 0.01})
    async with house.supervisor.lease("a") as lease:
        running = start(lease, [1], 30)
        await anext(running)
        await house.supervisor.withdraw("a")
        await house.declare("a")
        assert await house.ask("a", [2], 3) == expected([2], 3)
        assert [status.name for status in house.supervisor.status()] == ["a"]
        assert await tokens_of(running) == expected([1], 30)[1:]


async def test_withdrawing_what_does_not_exist_is_nothing(house: House):
    await house.supervisor.withdraw("a")
    assert house.supervisor.status() == []


async def test_broken_adapters_are_named(house: House):
    await house.declare("a", adapters=["/no/such/adapter"])
    with pytest.raises(ModelFailed, match="/no/such/adapter does not exist"):
        await house.ask("a", [1], 1)
