"""How far the requests have come that run, and what becomes of one that is given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.errors import FastMLXError, RequestCancelled
from fastmlx.daemon.protocol.requests import RequestMeta, SamplingRequest
from fastmlx.daemon.tasks.books import Books, asked
from fastmlx.daemon.tasks.running import Phase, RunningRequests

STATS = wire.Stats(
    running=1,
    waiting=0,
    memory_bytes=0,
    peak_memory_bytes=0,
    kv_bytes=0,
    kv_tokens=0,
    steps=1,
    output_tokens=0,
    prompt_tokens=1000,
    prefills=[wire.Prefill(1, 600, 1000), wire.Prefill(2, 0, 500)],
)


class Held(NamedTuple):
    """What of a lease is looked at."""

    name: str
    stats: wire.Stats | None


class Work:
    """A sequence in an engine."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.error: FastMLXError | None = None

    def give_up(self, error: FastMLXError) -> None:
        self.error = error


class Stream(NamedTuple):
    output_tokens: int
    reasoning_tokens: int = 0


def books(name: str = "r") -> Books:
    meta = RequestMeta(request_id=name, dialect="openai_chat")
    return Books("demo", meta, SamplingRequest(max_tokens=64))


@contextlib.asynccontextmanager
async def granted(lease: Held) -> AsyncIterator[Any]:
    yield lease


@contextlib.asynccontextmanager
async def never() -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


async def test_a_request_is_seen_in_all_that_it_goes_through() -> None:
    running = RunningRequests()
    each = [books(f"r{number}") for number in range(5)]
    for one in each:
        running.add(one)
    assert [seen.phase for seen in running.look()] == [Phase.PREPARING] * 5
    async with contextlib.AsyncExitStack() as stack:
        for number, one in enumerate(each):
            await stack.enter_async_context(one.using(granted(Held("demo", STATS))))
            streams: Any = [Stream(0)]
            one.engine_took_it(1000, streams, [Work(number + 1)])
        each[4].first_row(wire.TokenRow(5, [1], cached_tokens=300))
        first, second, third, fourth, fifth = running.look()
    assert (first.phase, first.prefilled_tokens, first.prompt_tokens) == (Phase.PREFILL, 600, 1000)
    assert (second.phase, second.prefilled_tokens) == (Phase.PREFILL, 0)
    assert (third.phase, third.position) == (Phase.WAITING, 1)
    assert (fourth.phase, fourth.position) == (Phase.WAITING, 2)
    assert (fifth.phase, fifth.cached_tokens, fifth.max_tokens) == (Phase.DECODE, 300, 64)
    for one in each:
        running.remove(one)
    assert running.look() == []


async def test_an_engine_that_had_nothing_to_do_computes_the_first_that_came() -> None:
    idle = msgspec.structs.replace(STATS, running=0, prefills=[])
    for stats in (None, idle):
        running = RunningRequests()
        streams: Any = [Stream(0)]
        async with contextlib.AsyncExitStack() as stack:
            for number in range(3):
                running.add(one := books())
                await stack.enter_async_context(one.using(granted(Held("demo", stats))))
                one.engine_took_it(500, streams, [Work(number)])
            seen = [(each.phase, each.position) for each in running.look()]
        assert seen == [(Phase.PREFILL, None), (Phase.WAITING, 1), (Phase.WAITING, 2)]


async def test_when_a_prompt_will_be_computed_is_told_by_what_was_computed_meanwhile() -> None:
    running = RunningRequests()
    one = books()
    running.add(one)
    later = msgspec.structs.replace(STATS, prompt_tokens=1200)
    streams: Any = [Stream(0)]
    async with one.using(granted(Held("demo", STATS))):
        one.engine_took_it(500, streams, [Work(2)])
        assert running.look()[0].eta_s is None
        one.lease = Held("demo", later)  # pyright: ignore[reportAttributeAccessIssue]
        eta_s = running.look()[0].eta_s
    # 200 tokens in a second or less; 400 of the prompt before it and its own 500 are to come.
    assert eta_s == pytest.approx(4.5)


async def test_one_that_waits_for_its_model_is_given_up_there() -> None:
    running = RunningRequests()
    one = books()
    running.add(one)

    async def wait() -> None:
        async with one.using(never()):
            pytest.fail("it was granted")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    assert running.look()[0].phase is Phase.LOADING
    assert running.cancel(one.number)
    with pytest.raises(RequestCancelled):
        await task
    assert not task.cancelled()


async def test_one_that_is_computed_is_given_up_in_its_engine() -> None:
    running = RunningRequests()
    one, work = books(), [Work(1), Work(2)]
    running.add(one)
    async with one.using(granted(Held("demo", None))):
        one.engine_took_it(10, [], work)
        assert running.look()[0].phase is Phase.COMPUTING
        assert running.cancel(one.number)
    assert all(isinstance(each.error, RequestCancelled) for each in work)
    one.failed(RequestCancelled("x"))
    assert (one.row().finish_reason, one.row().error) == ("cancelled", None)
    running.remove(one)
    assert not running.cancel(one.number)


async def test_one_whose_prompt_is_being_made_is_given_up_before_the_engine_works_for_it() -> None:
    running = RunningRequests()
    one = books()
    running.add(one)
    assert running.cancel(one.number)
    with pytest.raises(RequestCancelled):
        one.engine_took_it(10, [], [])


def test_of_the_sampling_only_numbers_are_kept() -> None:
    sampling = SamplingRequest(
        temperature=0.5, max_tokens=9, stop=("secret", "x"), logit_bias={5: 1.0}, ignore_eos=True
    )
    said = {"temperature": 0.5, "max_tokens": 9, "stop": 2, "logit_bias": 1, "ignore_eos": True}
    assert msgspec.json.decode(asked(sampling) or "") == said
    assert asked(SamplingRequest()) is None
