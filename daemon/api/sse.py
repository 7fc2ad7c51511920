"""Server-sent events: the one writer of every dialect's stream.

    push ──► frames ──► (once a turn of the loop) ──► one chunk ──► socket

Frames that are ready in the same turn of the event loop leave in one write: a reader that is
slower than the model costs fewer system calls, not more. While nothing is generated a heartbeat, in
the form that the dialect's clients bear, keeps the connection awake. When the client reads slowly,
`drain` makes the stream's producer wait.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from ..protocol.tap import Tap

if TYPE_CHECKING:
    from sanic import Request
    from sanic.response import BaseHTTPResponse

T = TypeVar("T")

# Until then an error still gets its own HTTP status; later the client wants to see headers, and
# the status is 200 whatever comes.
GRACE_S = 0.5
HEARTBEAT_S = 5.0  # silence after which a comment is sent
STALL_S = 600.0  # a client that reads nothing for so long is cut off
HIGH_WATER = 64 * 1024  # bytes that may wait for the client

EVENTS = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
# Line ends to Python's splitlines (and so to clients that read streams with httpx or requests),
# but to JSON just characters of a string.
_LINE_ENDS = tuple(
    (end.encode(), escaped)
    for end, escaped in (("\u2028", b"\\u2028"), ("\u2029", b"\\u2029"), ("\x85", b"\\u0085"))
)
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

_json = msgspec.json.Encoder().encode


def json_text(text: str) -> bytes:
    """`text` as a JSON string that no reader can take for more than one line."""
    encoded = _json(text)
    return encoded if text.isascii() else one_line(encoded)


def one_line(encoded: bytes) -> bytes:
    """The same JSON without characters that a reader may take for the end of a line."""
    if not encoded.isascii():
        for end, escaped in _LINE_ENDS:
            encoded = encoded.replace(end, escaped)
    return encoded


class EventStream:
    """One response of content type text/event-stream.

    Use as a context manager; `open()` before the first `push`, `close()` after the last. Headers
    leave with `open()`, or after GRACE_S by themselves; `is_open` tells whether they have left,
    that is, whether an error must travel inside the stream.
    """

    def __init__(
        self,
        request: Request,
        heartbeat: bytes | Callable[[], bytes] = PING,
        content_type: str = EVENTS,
        greeting: Callable[[], bytes] | None = None,
    ) -> None:
        """`heartbeat` is, or makes, the frame that says that we are alive; `greeting` makes what
        follows the headers at once, before anything is pushed."""
        self._request = request
        self._heartbeat = heartbeat
        self._content_type = content_type
        self._greeting = greeting
        self._loop = asyncio.get_running_loop()
        transport = request.transport
        assert transport is not None
        self._transport: asyncio.WriteTransport = transport  # pyright: ignore[reportAttributeAccessIssue]
        self._response: BaseHTTPResponse | None = None
        self._opening: asyncio.Task[None] | None = None
        self._frames: list[bytes] = []
        self._size = 0
        self._wrote_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self._opening is not None

    async def __aenter__(self) -> Self:
        self._timer = self._loop.call_later(GRACE_S, self._open_soon)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_timer()
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        self._frames.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _open_soon(self) -> None:
        if self._opening is None:
            self._opening = self._loop.create_task(self._send_headers())

    async def open(self) -> None:
        """Sends status and headers, if they have not left yet."""
        self._open_soon()
        assert self._opening is not None
        await self._opening

    async def _send_headers(self) -> None:
        self._stop_timer()
        response = await self._request.respond(
            headers=dict(_HEADERS), content_type=self._content_type
        )
        assert response is not None
        await response.send(b"", end_stream=False)
        self._response = response
        self._wrote_at = self._loop.time()
        if self._greeting is not None and (frame := self._greeting()):
            self.push(frame)
        self._timer = self._loop.call_later(HEARTBEAT_S, self._beat)

    def push(self, frame: bytes) -> None:
        """Queues a frame; it leaves when the caller next lets the loop run."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)
        self._size += len(frame)

    def write(self, frame: bytes) -> bool:
        """Sends a frame now, or behind those that are queued; the event loop gathers what is
        written in one turn. Returns `behind`."""
        if self._frames:
            self.push(frame)
            return self.behind
        self._wrote_at = self._loop.time()
        transport = self._transport
        if not transport.is_closing():
            # Chunked encoding as Sanic writes it, without its way through three coroutines.
            transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        return transport.get_write_buffer_size() > HIGH_WATER

    @property
    def behind(self) -> bool:
        """Whether the client reads slower than we write: call `drain` before the next push."""
        return self._size + self._transport.get_write_buffer_size() > HIGH_WATER

    async def drain(self) -> None:
        """Writes what is queued and waits until the client has taken most of it.

        Raises TimeoutError after STALL_S.
        """
        assert self._response is not None
        async with asyncio.timeout(STALL_S):
            await self._response.send(self._take(), end_stream=False)

    async def close(self) -> None:
        """Writes what is queued and ends the response."""
        assert self._response is not None
        self._stop_timer()
        await self._response.send(self._take(), end_stream=True)

    def _take(self) -> bytes:
        data = b"".join(self._frames)
        self._frames.clear()
        self._size = 0
        self._wrote_at = self._loop.time()
        return data

    def _flush(self) -> None:
        if self._frames:
            self.write(self._take())

    def _beat(self) -> None:
        now = self._loop.time()
        if now - self._wrote_at >= HEARTBEAT_S:
            self._wrote_at = now
            if self._transport.get_write_buffer_size() == 0 and not self._frames:
                beat = self._heartbeat
                if frame := beat if isinstance(beat, bytes) else beat():
                    self.write(frame)  # an empty chunk would end the response
        self._timer = self._loop.call_at(self._wrote_at + HEARTBEAT_S, self._beat)


async def send_events(
    request: Request,
    events: AsyncGenerator[T, None],
    encode: Callable[[T], bytes],
    encode_error: Callable[[Exception], bytes],
    end: bytes = DONE,
    heartbeat: bytes | Callable[[], bytes] = PING,
    content_type: str = EVENTS,
    greeting: Callable[[], bytes] | None = None,
    tap: Tap | None = None,
) -> None:
    """Answers `request` with a stream: every event through `encode` (b"" is nothing), then `end`.
    After HEARTBEAT_S without a frame `heartbeat` is sent, again and again; see EventStream.

    An error before the headers have left is raised, for the status that it deserves; later it
    becomes a last frame. `tap` is that of `events`, if there is one. `events` is closed in any
    case, also when the client goes away (Sanic then cancels this task), and takes its sequence out
    of the engine.
    """
    async with EventStream(request, heartbeat, content_type, greeting) as out, aclosing(events):
        try:
            opened = False
            async for event in events:
                frame = encode(event)
                if not opened:
                    await out.open()
                    opened = True
                if frame:
                    out.push(frame)
                    if out.behind:
                        await out.drain()
                if tap is not None:
                    tap.write = out.write
        except Exception as error:
            if not out.is_open:
                raise
            await out.open()
            out.push(encode_error(error))
        else:
            await out.open()
        if end:
            out.push(end)
        await out.close()
