"""Several sequences of one request, in the order in which their rows arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")


async def merge(sources: Sequence[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yields (number of the source, item) until every source has ended.

    A source is asked for its next item when the one before was used. The first error of a source
    ends all. One task a source, none of which outlives the generator.
    """
    items: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue()

    used = [asyncio.Event() for _ in sources]

    async def pump(number: int, source: AsyncIterator[T]) -> None:
        try:
            async for item in source:
                used[number].clear()
                items.put_nowait((number, item))
                await used[number].wait()
            items.put_nowait(None)
        except Exception as error:
            items.put_nowait(error)

    tasks = [asyncio.create_task(pump(*each)) for each in enumerate(sources)]
    try:
        running = len(tasks)
        while running:
            item = await items.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
                used[item[0]].set()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
