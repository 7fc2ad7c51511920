"""Memory: who makes room for whom, and what is said when nobody can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from bad_engine import expected
from fastmlx.daemon.protocol.errors import ModelFailed, Overloaded
from fastmlx.daemon.supervisor.status import State
from houses import MIB, House, start

WEIGHTS = 100 * MIB  # a model of this size is estimated with 133 MiB


@pytest.fixture
def small(make_house: Callable[..., House]) -> House:
    """Two models fit, three do not."""
    return make_house(limit_bytes=300 * MIB)


def ready(house: House) -> list[str]:
    return [s.name for s in house.supervisor.status() if s.state is State.READY]


async def declare(house: House, *names: str, **options: object) -> None:
    for name in names:
        await house.declare(name, weights_bytes=WEIGHTS, **options)  # pyright: ignore


async def test_the_least_recently_used_idle_model_makes_room(small: House):
    await declare(small, "a", "b", "c", "d")
    await small.ask("a", [1], 1)
    await small.ask("b", [1], 1)
    await small.ask("a", [1], 1)
    await small.ask("c", [1], 1)
    assert ready(small) == ["a", "c"]
    await small.ask("d", [1], 1)
    assert ready(small) == ["c", "d"]


async def test_pinned_and_busy_models_stay_and_the_refusal_says_so(small: House):
    await declare(small, "p", pinned=True)
    await declare(small, "busy", "c")
    await small.ask("p", [1], 1)
    async with small.supervisor.lease("busy") as lease:
        stream = start(lease, [1], 100_000)
        await anext(stream)
        with pytest.raises(Overloaded) as refused:
            await small.ask("c", [1], 1)
        message = refused.value.message
        assert "c now: it needs 13" in message
        assert "the limit is 300 MiB" in message
        assert "p holds 133 MiB (pinned)" in message
        assert "busy holds 133 MiB (1 running)" in message
        assert refused.value.retry_after_s is not None
        stream.abort()
    assert await small.ask("c", [1], 2) == expected([1], 2)
    assert ready(small) == ["p", "c"]


async def test_a_model_larger_than_the_limit_is_refused_with_both_numbers(small: House):
    await small.declare("big", weights_bytes=400 * MIB)
    with pytest.raises(ModelFailed, match=r"big needs 43\d MiB.*limit of 300 MiB"):
        await small.ask("big", [1], 1)
    assert small.status("big").state is State.FAILED
    small.supervisor.set_memory_limit(500 * MIB)
    assert await small.ask("big", [1], 1) == expected([1], 1)


async def test_models_that_start_at_once_never_overbook(small: House):
    names = ["a", "b", "c", "d"]
    await declare(small, *names, behaviour={"load_s": 0.1})
    results = await asyncio.gather(
        *(small.ask(name, [1], 1) for name in names), return_exceptions=True
    )
    assert sum(isinstance(result, list) for result in results) == 2
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(refused) == 2
    assert "starting" in refused[0].message or "waiting for it" in refused[0].message
    assert len(ready(small)) == 2


async def test_a_new_engine_starts_when_the_evicted_process_is_gone(small: House):
    await declare(small, "a", "b", behaviour={"ignore_stop": True})
    await small.supervisor.load("a")
    await small.supervisor.load("b")
    await declare(small, "c")
    request = asyncio.create_task(small.ask("c", [1], 1))
    await small.until(lambda: small.status("a").state is State.STOPPING)
    assert small.status("c").state is State.STARTING
    assert small.starts("c") == 0
    await request
    assert small.status("a").pid is None


async def test_what_an_engine_reports_counts_when_it_is_more_than_the_estimate(small: House):
    await declare(small, "grown", behaviour={"memory_bytes": 250 * MIB})
    await declare(small, "b")
    async with small.supervisor.lease("grown"):
        with pytest.raises(Overloaded, match="grown holds 250 MiB"):
            await small.ask("b", [1], 1)
    assert small.status("grown").memory_bytes >= 250 * MIB


async def test_preloading_evicts_nobody(small: House):
    await declare(small, "a", "b", "c")
    await small.supervisor.load("a", evict=False)
    await small.supervisor.load("b", evict=False)
    with pytest.raises(Overloaded, match=r"\(loaded\)"):
        await small.supervisor.load("c", evict=False)
    assert ready(small) == ["a", "b"]


async def test_a_lower_limit_evicts_idle_models_until_it_fits(small: House):
    await declare(small, "a", "b")
    await small.ask("a", [1], 1)
    await small.ask("b", [1], 1)
    small.supervisor.set_memory_limit(200 * MIB)
    await small.until(lambda: ready(small) == ["b"])
    async with small.supervisor.lease("b"):
        small.supervisor.set_memory_limit(50 * MIB)
        assert ready(small) == ["b"]


async def test_failed_models_hold_nothing(small: House):
    await declare(small, "a", behaviour={"load": "fail"})
    await declare(small, "b", "c")
    with pytest.raises(ModelFailed):
        await small.ask("a", [1], 1)
    await small.ask("b", [1], 1)
    await small.ask("c", [1], 1)
    assert ready(small) == ["b", "c"]
