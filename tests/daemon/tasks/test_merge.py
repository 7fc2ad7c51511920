"""Several sequences, one stream of rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from fastmlx.daemon.tasks.merge import merge


async def count(to: int, pause_s: float = 0.0) -> AsyncGenerator[int, None]:
    for i in range(to):
        await asyncio.sleep(pause_s)
        yield i


async def test_every_item_arrives_once_in_the_order_of_its_source() -> None:
    items = [item async for item in merge([count(3), count(0), count(5)])]
    assert [i for number, i in items if number == 0] == [0, 1, 2]
    assert [i for number, i in items if number == 2] == [0, 1, 2, 3, 4]
    assert len(items) == 8


async def test_a_slow_source_does_not_hold_up_the_others() -> None:
    merged = merge([count(1, 0.2), count(3)])
    async with aclosing(merged):
        assert [await anext(merged) for _ in range(4)] == [(1, 0), (1, 1), (1, 2), (0, 0)]


async def test_an_error_of_one_ends_all() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 0
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async for _ in merge([count(1000, 0.01), broken()]):
            pass


async def test_closing_early_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    merged = merge([count(1000, 0.01), count(1000, 0.01)])
    async with aclosing(merged):
        await anext(merged)
    assert asyncio.all_tasks() == before
