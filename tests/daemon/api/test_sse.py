"""The writer of streams, on a real socket, behind a real Sanic."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from fastmlx.daemon.api import anthropic_answer, errors, sse
from fastmlx.daemon.protocol.errors import Overloaded
from fastmlx.daemon.protocol.events import Event, TextDelta
from fastmlx.daemon.protocol.tap import Tap
from hypothesis import given
from hypothesis import strategies as st
from sanic import Request, Sanic

Source = Callable[[], AsyncGenerator[Event, None]]


def encode(event: Event) -> bytes:
    assert isinstance(event, TextDelta)
    return b"data: " + event.text.encode() + b"\n\n" if event.text else b""


def encode_error(error: Exception) -> bytes:
    return b"data: broken: " + str(error).encode() + b"\n\n"


@asynccontextmanager
async def served(source: Source, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """A server whose one page streams `source`."""
    app: Sanic[Any, Any] = Sanic(f"sse-{id(source)}", configure_logging=False)
    app.config.TOUCHUP = False
    errors.install(app)

    async def page(request: Request) -> None:
        await sse.send_events(request, source(), encode, encode_error, **options)

    app.add_route(page, "/", name="page")
    listener = socket.create_server(("127.0.0.1", 0))
    server = await app.create_server(sock=listener, asyncio_server_kwargs={"start_serving": False})
    assert server is not None
    assert server.server is not None
    await server.startup()
    await server.server.start_serving()
    try:
        yield listener.getsockname()
    finally:
        server.server.close()
        for connection in list(server.connections):
            connection.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def reading(address: tuple[str, int]) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


def body_of(raw: bytes) -> tuple[list[bytes], bytes]:
    """(the chunks, their content) of a whole response in chunked encoding."""
    rest = raw.partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunk, rest = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        if chunk:
            chunks.append(chunk)
    return chunks, b"".join(chunks)


async def test_events_that_are_ready_together_leave_in_one_write() -> None:
    async def source() -> AsyncGenerator[Event, None]:
        for i in range(50):
            yield TextDelta(0, f"a{i}")
        await asyncio.sleep(0.05)
        for i in range(50):
            yield TextDelta(0, f"b{i}")

    async with served(source) as address, reading(address) as reader:
        chunks, content = body_of(await reader.read())
    assert len(chunks) == 2
    assert content.count(b"data: ") == 101
    assert content.endswith(b"data: b49\n\ndata: [DONE]\n\n")


async def test_events_without_a_frame_send_nothing() -> None:
    async def source() -> AsyncGenerator[Event, None]:
        yield TextDelta(0, "")
        yield TextDelta(0, "x")

    async with served(source) as address, reading(address) as reader:
        assert body_of(await reader.read())[1] == b"data: x\n\ndata: [DONE]\n\n"


async def test_an_early_error_gets_its_own_status() -> None:
    async def source() -> AsyncGenerator[Event, None]:
        raise Overloaded("Full.", retry_after_s=2.2)
        yield TextDelta(0, "never")

    async with served(source) as address, reading(address) as reader:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 3\r\n" in head
    assert msgspec.json.decode(body)["error"]["code"] == "overloaded"


async def test_a_late_error_ends_the_stream_in_the_stream() -> None:
    async def source() -> AsyncGenerator[Event, None]:
        yield TextDelta(0, "x")
        raise Overloaded("Gone.")

    async with served(source) as address, reading(address) as reader:
        content = body_of(await reader.read())[1]
    assert content == b"data: x\n\ndata: broken: Gone.\n\ndata: [DONE]\n\n"


async def test_silence_gets_headers_and_then_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "GRACE_S", 0.05)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.1)
    go = asyncio.Event()

    async def source() -> AsyncGenerator[Event, None]:
        await go.wait()
        yield TextDelta(0, "x")

    async with served(source) as address, reading(address) as reader:
        head = await reader.readuntil(b"\r\n\r\n")  # before anything was generated
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/event-stream" in head
        for _ in range(2):
            assert await reader.readexactly(len(sse.PING) + 5) == b"8\r\n" + sse.PING + b"\r\n"
        go.set()
        rest = await reader.read()
    assert b"data: x\n\n" in rest


async def test_messages_get_pings_before_the_first_event_and_while_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "GRACE_S", 0.05)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.1)
    ping = anthropic_answer.PING
    chunk = b"%x\r\n%b\r\n" % (len(ping), ping)
    go = asyncio.Event()

    async def source() -> AsyncGenerator[Event, None]:
        await go.wait()
        go.clear()
        yield TextDelta(0, "x")
        await go.wait()

    async with served(source, heartbeat=ping, end=b"") as address, reading(address) as reader:
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(2):  # in the queue, then while a tool call is withheld
            assert await reader.readexactly(len(chunk)) == chunk
            assert ping == b'event: ping\ndata: {"type":"ping"}\n\n'
            go.set()
            if _ == 0:
                assert b"data: x\n\n" in await reader.readuntil(b"data: x\n\n\r\n")
        assert await reader.read() == b"0\r\n\r\n"


async def test_a_reader_that_does_not_read_stops_the_producer_and_loses_nothing() -> None:
    frames = 2000
    produced = 0
    text = "y" * 10_000

    async def source() -> AsyncGenerator[Event, None]:
        nonlocal produced
        for _ in range(frames):
            produced += 1
            yield TextDelta(0, text)

    async with served(source) as address, reading(address) as reader:
        await asyncio.sleep(0.3)
        before = produced
        assert before < frames  # 20 MB do not fit into what sockets and we buffer
        await asyncio.sleep(0.1)
        assert produced == before
        content = body_of(await reader.read())[1]
    assert content.count(text.encode()) == frames


async def test_what_a_tap_writes_stands_between_the_events_and_ends_where_the_reader_lags() -> None:
    tap = Tap(encode)
    text = "y" * 10_000
    taken: list[int] = []

    def fill() -> None:
        assert tap.write is not None
        count = 1
        while not tap.write(encode(TextDelta(0, text))):
            count += 1
            assert count < 2000
        tap.write = None
        taken.append(count)

    async def source() -> AsyncGenerator[Event, None]:
        assert tap.write is None  # no headers yet
        yield TextDelta(0, "first")
        fill()
        yield TextDelta(0, "between")  # and waits
        fill()

    async with served(source, tap=tap) as address, reading(address) as reader:
        content = body_of(await reader.read())[1]
    before, _, behind = content.partition(b"data: between\n\n")
    assert before.startswith(b"data: first\n\n")
    assert [before.count(text.encode()), behind.count(text.encode())] == taken
    assert min(taken) > 0
    assert behind.endswith(sse.DONE)


async def test_a_client_that_goes_away_closes_the_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[Event, None]:
        try:
            yield TextDelta(0, "x")
            await asyncio.sleep(60)
        finally:
            closed.set()

    async with served(source) as address:
        async with reading(address) as reader:
            await reader.readuntil(b"data: x")
        await asyncio.wait_for(closed.wait(), 2)


@given(st.text())
def test_text_is_one_json_string_on_one_line(text: str) -> None:
    encoded = sse.json_text(text)
    assert msgspec.json.decode(encoded) == text
    assert len(encoded.decode().splitlines()) == 1
