"""The least that streaming costs: bench/front.py's engine, clients and frames, and between them an
event loop that does nothing else.

No routes, no checks, no text: every row of the engine becomes the same frame, written where its
client listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import Decoder, encode
from fastmlx.daemon.protocol.sampling import Sampling

HERE = Path(__file__).resolve().parent
HEADERS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
)
BASE = {
    "id": f"chatcmpl-{'0' * 32}",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "bench",
    "system_fingerprint": "fastmlx-0.1.0",
}


def _chunk(**rest: object) -> bytes:
    data = b"data: " + msgspec.json.encode(BASE | rest) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


_DELTA = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
FRAME = _chunk(choices=[_DELTA], usage=None)


class Body(msgspec.Struct):
    max_tokens: int


class Client(asyncio.Protocol):
    """One connection, one stream."""

    def __init__(self, ask: Callable[[Client, int], None]) -> None:
        self._ask = ask
        self._received = bytearray()
        self.tokens = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        _, _, body = self._received.partition(b"\r\n\r\n")
        if body.endswith(b"}"):
            self.tokens = msgspec.json.decode(body, type=Body).max_tokens
            self._ask(self, self.tokens)

    def end(self) -> None:
        usage = _chunk(choices=[], usage={"completion_tokens": self.tokens})
        self.transport.write(usage + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        self.transport.close()


class Engine(asyncio.Protocol):
    """The other end of bench/steady_engine.py."""

    def __init__(self) -> None:
        self._decoder: Decoder[wire.ToFront] = Decoder(wire.ToFront)
        self._clients: dict[int, Client] = {}
        self._ids = itertools.count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(encode(wire.Load("bench", "")))

    def ask(self, client: Client, tokens: int) -> None:
        number = next(self._ids)
        self._clients[number] = client
        client.transport.write(HEADERS)
        sampling = Sampling(max_tokens=tokens)
        self._transport.write(encode(wire.Generate(number, [1], sampling)))

    def data_received(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            if type(message) is wire.Tokens:
                for row in message.rows:
                    self._clients[row.id].transport.write(FRAME)
                    if row.finish is not None:
                        self._clients.pop(row.id).end()


async def serve(step_ms: float, ready: Callable[[str], None], closed: asyncio.Event) -> None:
    """Until `closed` is set; `ready` is told the URL."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    options = ["--step-ms", str(step_ms), "--fd", str(theirs.fileno())]
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "steady_engine.py"), *options, pass_fds=(theirs.fileno(),)
    )
    theirs.close()
    _, engine = await loop.create_unix_connection(Engine, sock=ours)
    server = await loop.create_server(lambda: Client(engine.ask), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    ready(f"http://{host}:{port}")
    try:
        await closed.wait()
    finally:
        server.close()
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
