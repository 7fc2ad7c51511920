"""One sequence as its requester sees it: a stream of token rows that survives its engine."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec

from ..protocol import wire
from .fair import Turn


class Generation(AsyncIterator[wire.TokenRow]):
    """Async iterator of the rows of one sequence; for one consumer.

    Ends after the row with `finish`, or after `abort()`. Raises EngineDied, ModelFailed,
    BadRequest or another FastMLXError when the engine cannot finish it; rows that came before the
    error are delivered first. When an engine dies the stream just pauses: `prompt + output` is sent
    to the next one, and no token is lost or doubled.

    `direct`, if set, is given each row that arrives while the consumer waits for it and nothing
    else waits; what it takes (it returns True) the consumer does not see. Never the last row.

    Rows wait here without bound (at most the sampling's max_tokens tokens), so a slow client never
    holds up the engine.
    """

    __slots__ = (
        "_done",
        "_error",
        "_message",
        "_on_abort",
        "_rows",
        "_waiter",
        "created_s",
        "deaths",
        "direct",
        "id",
        "output",
        "sent",
        "turn",
    )

    def __init__(
        self,
        message: wire.Generate,
        on_abort: Callable[[Generation], None],
        turn: Turn,
    ) -> None:
        self.id = message.id
        self.turn = turn
        self.output = list(message.output)  # the replay log: every token delivered so far
        self.deaths = 0  # of engines while this was running in them
        self.sent = False  # to the engine that lives now
        self.created_s = time.monotonic()
        self.direct: Callable[[wire.TokenRow], bool] | None = None
        self._message = message
        self._rows: deque[wire.TokenRow] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._done = False
        self._on_abort = on_abort

    @property
    def done(self) -> bool:
        """No more rows will come in: finished, failed or aborted. Some may still wait here."""
        return self._done

    def message(self) -> wire.Generate:
        """What an engine needs to continue from here."""
        return msgspec.structs.replace(self._message, output=self.output)

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> wire.TokenRow:
        while not self._rows:
            if self._error is not None:
                raise self._error
            if self._done:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._rows.popleft()

    def abort(self) -> None:
        """Nobody listens any more: the sequence leaves the engine's batch at its next step.

        Idempotent; also fine after the end. Rows that wait here are dropped.
        """
        self._rows.clear()
        self.direct = None
        if not self._done:
            self._done = True
            self._on_abort(self)
            self._wake()

    def give_up(self, error: Exception) -> None:
        """As `abort`, but whoever waits gets `error`."""
        if not self._done:
            self._error = error
            self.abort()

    # ---- for the engine process that feeds it

    def push(self, row: wire.TokenRow) -> None:
        """A row came in. This is the hot path: once per sequence and step."""
        output = self.output
        if output and row.cached_tokens:
            # First row after a replay: the cache hit is ours, not news for the usage row.
            row = msgspec.structs.replace(row, cached_tokens=0)
        output += row.tokens
        waiter = self._waiter
        if waiter is None or waiter.done():
            waiter = None
        if row.finish is not None:
            self._done = True
        elif waiter is not None and self.direct is not None and self.direct(row):
            return
        self._rows.append(row)
        if waiter is not None:
            waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """The stream ends with `error` after the rows that wait; ignored after the end."""
        if not self._done:
            self._done = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
