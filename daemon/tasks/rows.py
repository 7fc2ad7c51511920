"""The rows of a request's sequences → its events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

from ..protocol.errors import EngineDied
from ..protocol.events import Event
from ..protocol.tap import Tap
from ..protocol.wire import TokenRow
from ..text.stream import TextStream
from .books import Books
from .merge import merge
from .thinking import Budgeted

if TYPE_CHECKING:
    from ..supervisor.generation import Generation

Rows: TypeAlias = "Generation | Budgeted"


async def one(
    generation: Rows, stream: TextStream, books: Books, tap: Tap | None
) -> AsyncGenerator[Event, None]:
    """The usual case and the hot path: no task, no queue between the engine and the client; with a
    tap, from the first token on, not even this generator."""
    push = stream.push
    first = True

    def direct(row: TokenRow) -> bool:
        assert tap is not None
        write = tap.write
        if write is None:
            return False
        try:
            for event in push(row):
                if (frame := tap.encode(event)) and write(frame):
                    tap.write = None  # the next event is asked for, and then waits
        except Exception as error:  # it is this request's alone
            generation.give_up(error)
        if stream.stopped:
            generation.abort()
        return True

    try:
        async for row in generation:
            if first:
                first = False
                if prefilled := books.first_row(row):
                    yield prefilled
                if tap is not None and not isinstance(generation, Budgeted):
                    generation.direct = direct
            for event in push(row):
                yield event
            if stream.stopped:
                break
    finally:
        generation.abort()
    _ended(stream, books)


async def many(
    generations: list[Rows], streams: list[TextStream], books: Books
) -> AsyncGenerator[Event, None]:
    seen: set[int] = set()
    rows: AsyncGenerator[tuple[int, TokenRow], None] = merge(generations)
    try:
        async with aclosing(rows):
            async for number, row in rows:
                if number not in seen:
                    seen.add(number)
                    if prefilled := books.first_row(row):
                        yield prefilled
                for event in streams[number].push(row):
                    yield event
                if streams[number].stopped:
                    generations[number].abort()
    finally:
        for generation in generations:
            generation.abort()
    for stream in streams:
        _ended(stream, books)


def _ended(stream: TextStream, books: Books) -> None:
    """Every choice must have ended with Finished; the row keeps the first one's reason."""
    if stream.finished is None:
        raise EngineDied("The engine ended this answer before it was complete.")
    if books.finish_reason is None:
        books.finish_reason = stream.finished.reason
