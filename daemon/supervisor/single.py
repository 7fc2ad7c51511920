"""One request with one answer (vectors, scores) as its requester sees it: it survives its engine
like a generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ..protocol import wire
from .fair import Turn

Answer = TypeVar("Answer", wire.Embedded, wire.Scored)


class Single(Generic[Answer]):
    """Awaited once. Ends with the engine's answer, or raises a FastMLXError."""

    __slots__ = (
        "_done",
        "_future",
        "_message",
        "_on_abort",
        "created_s",
        "deaths",
        "id",
        "sent",
        "turn",
    )

    output: tuple[int, ...] = ()  # nothing comes piece by piece

    def __init__(
        self,
        message: wire.Embed | wire.Score,
        on_abort: Callable[[Single[Answer]], None],
        turn: Turn,
    ) -> None:
        self.id = message.id
        self.turn = turn
        self.created_s = time.monotonic()
        self.deaths = 0  # of engines while this was running in them
        self.sent = False  # to the engine that lives now
        self._message = message
        self._done = False
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._on_abort = on_abort

    @property
    def done(self) -> bool:
        """Answered, failed or aborted."""
        return self._done

    def message(self) -> wire.Embed | wire.Score:
        """What an engine needs to do it."""
        return self._message

    async def answer(self) -> Answer:
        """Raises EngineDied, ModelFailed, BadRequest or another FastMLXError."""
        return await self._future

    def abort(self) -> None:
        """Nobody waits any more. Idempotent; also fine after the end."""
        if not self._done:
            self._done = True
            self._future.cancel()
            self._on_abort(self)

    def give_up(self, error: Exception) -> None:
        """As `abort`, but whoever waits gets `error`."""
        if not self._done:
            self.fail(error)
            self._on_abort(self)

    # ---- for the engine process that carries it out

    def finish(self, answer: Answer) -> None:
        """Ignored after the end, as is `fail`."""
        if not self._done:
            self._done = True
            if not self._future.done():
                self._future.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self._done:
            self._done = True
            if not self._future.done():
                self._future.set_exception(error)
