"""Responses with `background: true`: they run on when nobody listens.

While one runs its events are held here, so that any number of clients can follow it, each from
where it likes. What has become of it is kept in the store; a response that the store knows as
running and that does not run here was interrupted by a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..protocol import caller
from ..protocol.errors import Overloaded
from .sse import HEARTBEAT_S

if TYPE_CHECKING:
    from .responses_keeper import Keeper
    from .responses_object import Response
    from .responses_run import Run

MAX_RUNNING = 256
_UNDER_WAY = ("queued", "in_progress")


class Running:
    """A response in the background. Its frames are numbered as its events: from 0, without gaps."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.owner = caller.current_key()
        self._frames: list[bytes] = run.writer.announce()
        self._more = asyncio.Event()  # replaced when it was set
        self._stopping = False
        self._task = asyncio.create_task(self._work())

    @property
    def response(self) -> Response:
        return self._run.response

    async def _work(self) -> None:
        run = self._run
        try:
            async with aclosing(run.frames()) as made:
                async for frames in made:
                    self._add(frames)
        except asyncio.CancelledError:
            if not self._stopping and self.response["status"] in _UNDER_WAY:
                self._add(run.cancel())
                await run.keep()
        except Exception as error:
            self._add(run.fail(error, run.asked.response_id))
            await run.keep()
        finally:
            self._more.set()

    def _add(self, frames: list[bytes]) -> None:
        self._frames += frames
        self._more.set()
        self._more = asyncio.Event()

    async def follow(self, after: int) -> AsyncGenerator[list[bytes], None]:
        """Frames behind the number `after`, until the end, with heartbeats among them."""
        place = max(after + 1, 0)
        while True:
            more = self._more
            if place < len(self._frames):
                frames = self._frames[place:]
                place = len(self._frames)
                yield frames
            elif self._task.done():
                return
            else:
                try:
                    await asyncio.wait_for(more.wait(), HEARTBEAT_S)
                except TimeoutError:
                    if place >= len(self._frames) and not self._task.done():
                        self._add(self._run.writer.beat())

    async def cancel(self) -> None:
        """Returns when it has ended and that is kept."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def stop(self) -> None:
        """Ends it; the store goes on saying that it runs."""
        self._stopping = True
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=1)

    def on_end(self, forget: Callable[[object], object]) -> None:
        self._task.add_done_callback(forget)


class Background:
    """All of one front."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._running: dict[str, Running] = {}

    async def start(self, run: Run) -> Running:
        """Raises Overloaded: too many run, or what becomes of it could not be kept."""
        if len(self._running) >= MAX_RUNNING:
            raise Overloaded(f"{MAX_RUNNING} responses run in the background.", retry_after_s=5)
        run.response["status"] = "queued"
        await run.keep()
        if not run.response["store"]:
            raise Overloaded(
                "A response in the background must be kept, which is not possible now "
                "(responses.keep, or see `fastmlx status`)."
            )
        identity = run.asked.response_id
        running = self._running[identity] = Running(run)
        running.on_end(lambda _: self._running.pop(identity, None))
        return running

    def find(self, identity: str) -> Running | None:
        """One that runs, unless another API key made it."""
        running = self._running.get(identity)
        return running if running and caller.current().sees(running.owner) else None

    async def response(self, identity: str) -> Response:
        """Of any response, running or not. Raises ResponseNotFound."""
        if running := self.find(identity):
            return running.response
        response = await self._keeper.response(identity)
        if identity not in self._running and response["status"] in _UNDER_WAY:
            response["status"] = "failed"
            message = "The daemon was stopped while this response was made."
            response["error"] = {"code": "server_error", "message": message}
        return response

    async def cancel(self, identity: str) -> None:
        """Ends it if it runs."""
        if running := self.find(identity):
            await running.cancel()

    async def stop(self) -> None:
        """The front ends."""
        for running in list(self._running.values()):
            await running.stop()
