"""Whose turn it is when more ask than can run, and who gives up waiting."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest
from bad_engine import HANG, expected
from fastmlx.daemon.protocol.errors import Overloaded, TimedOut
from fastmlx.daemon.supervisor.fair import FairQueue, Turn
from fastmlx.daemon.supervisor.jobs import AHEAD
from houses import House, start, tokens_of
from hypothesis import given
from hypothesis import strategies as st


def drained(queue: FairQueue[str]) -> list[str]:
    """Everything in the queue's order, when nothing ends meanwhile."""
    running: Counter[str | None] = Counter()
    order = []
    while (item := queue.take(running)) is not None:
        running[item[0]] += 1
        order.append(item)
    return order


def test_owners_take_turns_however_many_requests_one_of_them_has():
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.add(item, Turn(item[0]))
    assert drained(queue) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_who_has_less_running_comes_first_and_priority_before_all():
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1"):
        queue.add(item, Turn(item[0]))
    queue.add("a0", Turn("a", priority=-1))
    queue.add("c9", Turn("c", priority=5))
    running: dict[str | None, int] = {"a": 0, "b": 3}
    assert [queue.take(running) for _ in range(5)] == ["a0", "a1", "a2", "b1", "c9"]


def test_what_was_running_before_a_death_comes_before_what_waited():
    queue: FairQueue[str] = FairQueue()
    queue.add("new", Turn("a", priority=-9))
    queue.add("old", Turn("a"), again=True)
    assert drained(queue) == ["old", "new"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.booleans()), max_size=30),
    st.lists(st.integers(0, 5), max_size=30),
)
def test_everything_comes_out_once_and_an_owners_own_in_order(
    added: list[tuple[str, int, bool]], pauses: list[int]
):
    queue: FairQueue[int] = FairQueue()
    running: Counter[str | None] = Counter()
    out: list[int] = []
    for number, (owner, priority, again) in enumerate(added):
        queue.add(number, Turn(owner, priority), again=again)
        for _ in range(pauses[number] if number < len(pauses) else 0):
            if (item := queue.take(running)) is not None:
                out.append(item)
                running[added[item][0]] += 1
    while (item := queue.take(running)) is not None:
        out.append(item)
    assert sorted(out) == list(range(len(added)))
    for each in set(added):
        own = [number for number in out if added[number] == each]
        assert own == sorted(own)
    assert len(queue) == 0


async def test_a_client_with_one_request_need_not_wait_for_another_s_hundred(house: House):
    await house.declare("a", max_concurrent=2, behaviour={"step_s": 0.002})
    ended: list[str] = []

    async def one(owner: str, number: int) -> None:
        async with house.supervisor.lease("a", turn=Turn(owner)) as lease:
            assert await tokens_of(start(lease, [number], 5)) == expected([number], 5)
        ended.append(owner)

    many = [asyncio.create_task(one("greedy", number)) for number in range(60)]
    await house.until(lambda: len(ended) >= 4)
    since = len(ended)  # on a busy machine many more than four
    await one("modest", 1)
    before = ended.index("modest") - since
    assert before < 2 * (2 + AHEAD) + 10, "it waited for all the others"
    await asyncio.gather(*many)
    assert len(ended) == 61


async def test_a_queue_that_one_has_filled_is_open_to_others(house: House):
    await house.declare("a", max_concurrent=1, max_waiting=2)

    async def one(owner: str, prompt: list[int]) -> list[int]:
        async with house.supervisor.lease("a", turn=Turn(owner)) as lease:
            return await tokens_of(start(lease, prompt, 3))

    greedy = [asyncio.create_task(one("greedy", [HANG, 1, n])) for n in range(3)]
    await house.until(lambda: house.status("a").requests_running == 1)
    with pytest.raises(Overloaded, match="max_waiting 2"):
        await one("greedy", [1])
    modest = asyncio.create_task(one("modest", [HANG, 2]))
    await house.until(lambda: house.status("a").requests_waiting == 3)
    with pytest.raises(Overloaded):
        await one("modest", [1])
    more = asyncio.create_task(one("more", [HANG, 2]))
    await house.until(lambda: house.status("a").requests_waiting == 4)
    with pytest.raises(Overloaded):  # of those, too, there may be so many
        await one("another", [1])
    for task in (*greedy, modest, more):
        task.cancel()
    await asyncio.wait([*greedy, modest, more])
    assert await one("greedy", [1]) == expected([1], 3)


async def test_who_waits_for_too_long_is_told_to_come_back(house: House):
    await house.declare("a", max_concurrent=1)
    await house.supervisor.load("a")  # which may take longer on a busy machine
    await house.declare("a", max_concurrent=1, queue_timeout_s=0.3)
    async with house.supervisor.lease("a") as lease:
        running = [start(lease, [HANG, 1], 5) for _ in range(1 + AHEAD)]
        late = start(lease, [7], 5)
        with pytest.raises(Overloaded, match="queue_timeout") as refused:
            await tokens_of(late)
        assert refused.value.retry_after_s
        assert not any(stream.done for stream in running)


async def test_who_waits_too_long_for_a_model_to_load_is_told_to_come_back(house: House):
    await house.declare("a", behaviour={"load_s": 1.5}, queue_timeout_s=0.2)
    with pytest.raises(Overloaded, match="queue_timeout"):
        await house.ask("a", [1], 5)
    await house.declare("a", queue_timeout_s=math.inf)
    assert await house.ask("a", [1], 5) == expected([1], 5)


async def test_a_request_that_takes_too_long_ends_with_what_it_has_and_an_error(house: House):
    await house.declare("a")
    await house.supervisor.load("a")
    await house.declare("a", request_timeout_s=0.3)
    got: list[int] = []
    with pytest.raises(TimedOut, match="request_timeout"):
        async with house.supervisor.lease("a") as lease:
            async for row in start(lease, [HANG, 3], 50):
                got += row.tokens
    assert got == expected([HANG, 3], 3)
    assert await house.ask("a", [1], 5) == expected([1], 5)
