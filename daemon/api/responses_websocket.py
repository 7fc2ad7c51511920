"""GET /v1/responses with `Upgrade: websocket`: many responses over one connection.

    client  {"type": "response.create", …the body of a POST…}
    server  one event a frame, the same JSON as in the stream of a POST; the last one of a response
            is response.completed, .incomplete or .failed, or an error frame before any of them

A response of `store: false` is known to its connection for as long as that lasts, so chains work
without the store. Requests with the same `stream_id` (or none) follow each other; those of
different ones run side by side, and their events carry it.

Source: https://platform.openai.com/docs/guides/websocket-mode
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic import Blueprint
from sanic.exceptions import SanicException
from websockets.exceptions import ConnectionClosed

from ..limits import BODIES
from ..protocol.errors import BadRequest, Overloaded
from .body import read_json
from .errors import reply_to
from .gate import authorize
from .responses_events import Framing
from .responses_fields import read_asked
from .responses_keeper import Local
from .responses_run import Run, prepare
from .sse import GRACE_S, HEARTBEAT_S

if TYPE_CHECKING:
    from sanic import Request, Websocket

    from .responses_input import Item

log = logging.getLogger(__name__)

blueprint = Blueprint("responses_websocket")

MAX_CONNECTIONS = 256
MAX_LANES = 16  # stream_ids at work at once
MAX_WAITING = 32  # requests of one lane
MAX_LOCAL = 64  # responses that a connection knows
_FORBIDDEN = ("stream", "stream_options", "background")


@blueprint.on_request
async def _upgrade_only(request: Request) -> None:
    """A plain GET learns what is missing; so does a client that asks whether we can do this."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise SanicException(
            "This path answers POST, or GET with Upgrade: websocket.",
            status_code=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    # Browsers let any page open a WebSocket: what holds for a POST must hold here.
    authorize(request, "POST")
    if request.app.ctx.websockets >= MAX_CONNECTIONS:
        raise Overloaded(f"{MAX_CONNECTIONS} WebSockets are open.", retry_after_s=5)


@blueprint.websocket("/v1/responses", name="connect")
async def connect(request: Request, socket: Websocket) -> None:
    context = request.app.ctx
    context.websockets += 1
    try:
        await Connection(request, socket).run()
    except ConnectionClosed:
        pass
    finally:
        context.websockets -= 1


class _Asked(NamedTuple):
    """A request that waits."""

    raw: dict[str, Any]
    size_bytes: int


class _Known(NamedTuple):
    """A response that this connection alone knows."""

    items: list[Item]  # all, up to its end
    size_bytes: int  # of its request, without what it goes on from


class Connection:
    """One socket. One task reads; each lane has a task that answers."""

    def __init__(self, request: Request, socket: Websocket) -> None:
        self._request = request
        self._socket = socket
        self._lanes: dict[str | None, asyncio.Queue[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def run(self) -> None:
        """Until the client goes; what still runs then is given up."""
        try:
            async for frame in self._socket:
                if frame is None:  # the connection is lost
                    break
                await self._take(frame)
        finally:
            for task in self._tasks:
                task.cancel()
            for lane in self._lanes.values():
                while not lane.empty():
                    self._let_go(lane.get_nowait().size_bytes)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, frame: str | bytes) -> None:
        lane: str | None = None
        try:
            raw = read_json(frame.encode() if isinstance(frame, str) else frame)
            given = raw.pop("stream_id", None)
            if not isinstance(given, str | None):
                raise BadRequest("stream_id must be a string.", param="stream_id")
            lane = given
            kind = raw.pop("type", None)
            if kind != "response.create":
                raise BadRequest(
                    f"type: '{str(kind)[:100]}' is not supported; response.create is.", param="type"
                )
            for name in _FORBIDDEN:
                if raw.pop(name, None):
                    raise BadRequest(f"{name} has no place on a WebSocket.", param=name)
            self._enqueue(lane, _Asked(raw, len(frame)))
        except Exception as error:
            await self._refuse(error, lane)

    def _enqueue(self, lane: str | None, asked: _Asked) -> None:
        context = self._request.app.ctx
        most_bytes = BODIES * self._request.app.config.WEBSOCKET_MAX_SIZE
        if context.websocket_bytes + asked.size_bytes > most_bytes:
            raise Overloaded(
                f"Requests of {most_bytes:,} bytes run and wait in WebSockets already.",
                retry_after_s=1,
            )
        if lane not in self._lanes:
            if len(self._lanes) >= MAX_LANES:
                raise Overloaded(f"{MAX_LANES} stream_ids are at work already.", retry_after_s=1)
            self._lanes[lane] = asyncio.Queue(MAX_WAITING)
            task = asyncio.create_task(self._work(lane, self._lanes[lane]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            self._lanes[lane].put_nowait(asked)
        except asyncio.QueueFull:
            raise Overloaded(f"{MAX_WAITING} requests wait already.", retry_after_s=1) from None
        context.websocket_bytes += asked.size_bytes

    def _let_go(self, size_bytes: int) -> None:
        self._request.app.ctx.websocket_bytes -= size_bytes

    async def _work(self, lane: str | None, queue: asyncio.Queue[_Asked]) -> None:
        """Ends with the last that waits: clients use a new stream_id for each conversation."""
        while not queue.empty():
            raw, size_bytes = queue.get_nowait()
            before = raw.get("previous_response_id")
            try:
                await self._answer(raw, size_bytes, lane)
            except ConnectionClosed:
                return
            except Exception as error:
                # What could not be gone on from once shall not be tried for ever.
                self._known.pop(str(before), None)
                await self._refuse(error, lane)
            finally:
                self._let_go(size_bytes)
        del self._lanes[lane]

    async def _answer(self, raw: dict[str, Any], size_bytes: int, lane: str | None) -> None:
        context = self._request.app.ctx
        authorize(self._request, "POST")  # again: the key may have been withdrawn
        asked = read_asked(raw | {"stream": True})
        run = await prepare(
            context.front,
            context.keeper,
            asked,
            client=self._request.ip,
            framing=Framing(False, {} if lane is None else {"stream_id": lane}),
            local=Local({identity: known.items for identity, known in self._known.items()}),
        )
        try:
            await self._send(run)
        except ConnectionClosed:
            raise
        except Exception as error:
            if not run.writer.begun:
                raise
            self._known.pop(str(asked.fields.previous_response_id), None)
            await self._frames(run.fail(error, asked.response_id))
            return
        if not run.response["store"]:
            self._remember(asked.response_id, _Known(run.items, size_bytes))

    def _remember(self, identity: str, known: _Known) -> None:
        """The oldest go when there are many, or much is in them."""
        self._known[identity] = known
        most_bytes = self._request.app.config.WEBSOCKET_MAX_SIZE
        while len(self._known) > MAX_LOCAL or (
            len(self._known) > 1
            and sum(each.size_bytes for each in self._known.values()) > most_bytes
        ):
            self._known.popitem(last=False)

    async def _send(self, run: Run) -> None:
        """The frames of a response, with heartbeats while there are none."""
        loop = asyncio.get_running_loop()
        sent_at = loop.time()

        async def beat() -> None:
            # Until then an error is told alone; later the client wants to see that we are there.
            await asyncio.sleep(GRACE_S)
            if begun := run.writer.begin():
                await tell(begun)
            while True:
                await asyncio.sleep(max(0.0, sent_at + HEARTBEAT_S - loop.time()))
                if loop.time() - sent_at >= HEARTBEAT_S:
                    await tell(run.writer.beat())

        async def tell(frames: list[bytes]) -> None:
            nonlocal sent_at
            sent_at = loop.time()
            await self._frames(frames)

        beating = asyncio.create_task(beat())
        try:
            async with aclosing(run.frames()) as made:
                async for frames in made:
                    await tell(frames)
        finally:
            beating.cancel()

    async def _frames(self, frames: list[bytes]) -> None:
        for frame in frames:
            await self._socket.send(frame.decode())

    async def _refuse(self, error: Exception, lane: str | None) -> None:
        """An error that belongs to no response."""
        reply = reply_to(error, str(self._request.id))
        told: dict[str, Any] = {"type": "error", "status": reply.status, **reply.body}
        if lane is not None:
            told["stream_id"] = lane
        await self._socket.send(msgspec.json.encode(told).decode())
