"""One client's connection: what it may hold of the front.

    too many connections   one that rests makes room, else 503 and the end
    header, body           must arrive in `server.receive_timeout` (limits.py), else 408 and the end
    nothing at all         for KEEP_ALIVE_TIMEOUT, then the end
    bytes ahead            AHEAD_BYTES while a request is answered: the end
    a WebSocket's frames   that are many and small (limits.py): the end
    answers unread         sse.py: the stream waits; 64 KiB and what the kernel keeps

Of Sanic's protocol it uses `http`, `_http`, `_task`, `_time`, `_callback_check_timeouts`; of its
WebSocket `ws_proto` and `async_data_received`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from typing import TYPE_CHECKING, Any

from sanic.exceptions import RequestTimeout
from sanic.http.constants import Stage
from sanic.server.protocols.websocket_protocol import WebSocketProtocol
from websockets.frames import CTRL_OPCODES, Frame, Opcode

from .exact_http import ExactHttp
from .limits import AHEAD_BYTES, FRAMES, arrives_too_slowly, connections_allowed, frames_left

if TYPE_CHECKING:
    from ..config.settings import ServerSettings

log = logging.getLogger(__name__)

LOOK_S = 5.0  # from one look at a connection to the next, at most
RESTS_S = 1.0  # a connection without a request for so long may make room for another
REFUSAL_S = 1.0  # for the request of one that is refused to arrive, so that it reads the answer
REFUSALS = 16  # that may wait at once; others are just closed
LOG_AGAIN_S = 10.0
SLICE_BYTES = 8 * 1024  # of what a WebSocket sent, from one look at its frames to the next
_FULL = (
    b'{"error": {"message": "Too many connections are open (server.max_connections, or the limit '
    b'of open files).", "type": "overloaded_error", "param": null, "code": "overloaded"}}'
)
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)

_refused: set[Connection] = set()
_said_at_s = -LOG_AGAIN_S


class Connection(WebSocketProtocol):
    """From `connection_made` to `connection_lost`. With `server.max_connections` reached it is one
    of `_refused` and never seen by Sanic."""

    HTTP_CLASS = ExactHttp

    __slots__ = (
        "_arriving",
        "_frames_at_s",
        "_frames_left",
        "_handing",
        "_received",
        "_received_before",
        "_since_s",
        "_told",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0  # bytes, over all requests
        self._arriving: tuple[int, Stage] | None = None  # number and stage of what is not here yet
        self._since_s = 0.0  # that it arrives
        self._received_before = 0  # that
        self._told = False  # that it is too slow
        self._frames_left, self._frames_at_s = float(FRAMES), 0.0
        self._handing: set[asyncio.Task[None]] = set()  # frames to who reads the WebSocket

    @property
    def _settings(self) -> ServerSettings:
        return self.app.ctx.front.config.settings.server

    # ---- too many

    def connection_made(self, transport: Any) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = connections_allowed(self._settings.max_connections, files)
        if len(self.connections) < allowed or make_room(self.connections):
            super().connection_made(transport)
            return
        self.transport = transport
        _refused.add(self)
        _say_full(allowed)
        if len(_refused) > REFUSALS:
            transport.abort()
        else:
            self.loop.call_later(REFUSAL_S, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self in _refused:
            _refused.discard(self)
        else:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in _refused:
            assert self.transport is not None
            self.transport.write(FULL)
            self.transport.close()
            return
        if self.websocket is not None:
            self._frames_received(data)
            return
        self._received += len(data)
        super().data_received(data)
        # With so much Sanic stops reading, and nobody would see that the client leaves.
        if len(self.recv_buffer) >= AHEAD_BYTES and self._is_ahead():
            log.info("a client sent %d bytes ahead; it is cut off", AHEAD_BYTES)
            self._cut_off()

    def _cut_off(self) -> None:
        # Sanic's abort() forgets the transport, on which its own task may be about to write.
        if self.transport is not None:
            self.transport.abort()

    def _is_ahead(self) -> bool:
        http = self.http
        return (
            self.websocket is None
            and http is not None
            and http.stage in (Stage.HANDLER, Stage.RESPONSE)
            and not http.request_body
        )

    def _frames_received(self, data: bytes) -> None:
        """As Sanic's, which takes any number of frames, and loses a text that is not UTF-8: here
        texts are bytes."""
        websocket = self.websocket
        assert websocket is not None
        protocol = websocket.ws_proto
        frames: list[Any] = []
        for start in range(0, len(data), SLICE_BYTES):
            piece = data[start : start + SLICE_BYTES]
            protocol.receive_data(piece)
            new = [each for each in protocol.events_received() if isinstance(each, Frame)]
            if new and self._are_too_many(new, len(piece)):
                log.info("a client sent too many small frames through a WebSocket; it is cut off")
                self._cut_off()
                return
            frames += new
        to_send = protocol.data_to_send()
        if frames or to_send:
            task = asyncio.create_task(websocket.async_data_received(to_send, frames))
            self._handing.add(task)
            task.add_done_callback(self._handing.discard)

    def _are_too_many(self, frames: list[Frame], received_bytes: int) -> bool:
        counted = 0
        for frame in frames:
            counted += not frame.fin or frame.opcode in CTRL_OPCODES
            if frame.opcode is Opcode.TEXT:
                frame.opcode = Opcode.BINARY
        now_s = time.monotonic()
        since_s, self._frames_at_s = now_s - self._frames_at_s, now_s
        self._frames_left = frames_left(self._frames_left, since_s, received_bytes, counted)
        return self._frames_left < 0

    def rests_s(self) -> float:
        """For how long no request has been on it; 0 when there is one."""
        http = self.http
        idle = self.websocket is None and (http is None or http.stage is Stage.IDLE)
        return max(1e-3, time.monotonic() - self._time) if idle else 0.0

    # ---- too slow

    def check_timeouts(self) -> None:
        """Called by Sanic once a connection is set up, and from then on by itself."""
        if self._task is None or self._http is None or self.websocket is not None:
            return
        timeout_s = self._settings.receive_timeout
        now_s = time.monotonic()
        if self._http.stage is Stage.IDLE and self.rests_s() > self.keep_alive_timeout:
            self._task.cancel()
            return
        if self._is_late(now_s, timeout_s):
            if self._told:  # and still sends
                self._cut_off()
                return
            self._told = True
            self._http.exception = RequestTimeout(
                f"The request did not arrive within {timeout_s:g} s (server.receive_timeout)."
            )
            self._task.cancel()
        self._callback_check_timeouts = self.loop.call_later(
            min(LOOK_S, timeout_s / 4), self.check_timeouts
        )

    def _is_late(self, now_s: float, timeout_s: float) -> bool:
        http = self._http
        assert http is not None
        header = http.stage is Stage.REQUEST
        # Not there before the first request.
        arrives = header or getattr(http, "request_body", None)
        arriving = (self.state["requests_count"], http.stage) if arrives else None
        if arriving is None or (arriving != self._arriving and not self._told):
            self._since_s, self._received_before = now_s, self._received
        self._arriving = arriving
        if arriving is None:
            return False
        came = self._received - self._received_before
        return arrives_too_slowly(now_s - self._since_s, came, timeout_s, header=header)


def make_room(connections: set[Connection]) -> bool:
    """Closes the connection that has had no request for longest; False when none rests."""
    longest = max(connections, key=Connection.rests_s, default=None)
    if longest is None or longest.rests_s() < RESTS_S:
        return False
    longest._cut_off()
    connections.discard(longest)
    return True


def _say_full(allowed: int) -> None:
    global _said_at_s
    now_s = asyncio.get_running_loop().time()
    if now_s - _said_at_s >= LOG_AGAIN_S:
        _said_at_s = now_s
        log.warning("%d connections are open: others are refused", allowed)
