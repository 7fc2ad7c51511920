"""Clients that mean harm, or behave as if: nobody else notices, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from live import LiveDaemon
from traffic import KINDS, ask
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websocket_to

MB = 1024**2
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def plain(tiny_model: Callable[..., Path]) -> str:
    return f"models:\n  m: {{path: {tiny_model('qwen3')}, max_concurrent: 32, max_waiting: 200}}\n"


# Front and engines write down what they hold when they are asked to by a signal.
COUNTING = """\
import collections, gc, json, os, pathlib, signal
def count(*_):
    gc.collect()
    classes = collections.Counter(map(type, gc.get_objects()))
    kinds = {{f"{{each.__module__}}.{{each.__qualname__}}": n for each, n in classes.items()}}
    written = pathlib.Path({folder!r}, f"{{os.getpid()}}.new")
    written.write_text(json.dumps(kinds))
    written.rename(written.with_suffix(".json"))
signal.signal(signal.SIGUSR1, count)
"""


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counts")
    (folder / "sitecustomize.py").write_text(COUNTING.format(folder=str(folder)))
    return folder


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, plain: str, counts: Path
) -> Iterator[LiveDaemon]:
    paths = filter(None, [str(counts), os.environ.get("PYTHONPATH", "")])
    environment = {
        "PYTHONPATH": os.pathsep.join(paths),
        "FASTMLX_SERVER__MAX_REQUEST_SIZE": "2MiB",
    }
    with LiveDaemon(tmp_path_factory.mktemp("abuse"), plain, environment=environment) as running:
        with running.http() as http:
            http.post("/api/models/m/load").raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(daemon: LiveDaemon, plain: str) -> Iterator[None]:
    yield
    put(daemon, plain)
    daemon.wait_until(lambda: at_work(daemon) == 0, 30, "nothing runs or waits")


def put(daemon: LiveDaemon, config: str) -> None:
    """Saves a configuration and waits until it is in force."""
    if daemon.config_file.read_text() != config:
        before = daemon.status()["config"]["loaded_at"]
        daemon.edit_config(config)
        daemon.wait_until(lambda: daemon.status()["config"]["loaded_at"] != before, 30)


def at_work(daemon: LiveDaemon) -> int:
    model = daemon.model("m")
    return model["requests_running"] + model["requests_waiting"]


def gauge(daemon: LiveDaemon, name: str) -> int:
    with daemon.http() as http:
        found = re.search(rf"^fastmlx_{name} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def connect(daemon: LiveDaemon, receive_buffer: int | None = None) -> socket.socket:
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.settimeout(60)
    if receive_buffer is not None:  # before it is connected: the window never was larger
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((host, int(port)))
    return connection


def head_and_body(content: bytes) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    )


def request(tokens: int) -> bytes:
    """A stream of so many tokens."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    return head_and_body(json.dumps(body | {"ignore_eos": True, "max_tokens": tokens}).encode())


def rest_of(connection: socket.socket) -> bytes:
    """What still comes until the other end closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while more := connection.recv(65536):
            received += more
    return received


def answers(daemon: LiveDaemon) -> list[str]:
    async def all_at_once() -> list[str]:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120) as client:
            asking = (ask(client, kind, "m", "Say something", tokens=40) for kind in KINDS)
            return await asyncio.gather(*asking)

    return asyncio.run(all_at_once())


# ---- what is sent too slowly


@pytest.mark.parametrize(
    "part", [b"POST /v1/chat/comp", head_and_body(b"{" * 100)[:-99]], ids=["header", "body"]
)
def test_a_request_that_stops_half_way_gets_a_408_and_the_end(
    daemon: LiveDaemon, plain: str, part: bytes
) -> None:
    put(daemon, "server: {receive_timeout: 1s}\n" + plain)
    with connect(daemon) as connection:
        connection.sendall(part)
        received = rest_of(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "receive_timeout" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("start", [b"GET /", head_and_body(b"{" * 90_000)[:-90_000]], ids=str)
def test_a_trickle_of_bytes_does_not_hold_a_connection_for_ever(
    daemon: LiveDaemon, plain: str, start: bytes
) -> None:
    put(daemon, "server: {receive_timeout: 1s}\n" + plain)
    with connect(daemon) as connection:
        connection.sendall(start)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(600):
                connection.sendall(b"x")
                time.sleep(0.1)


# ---- too many connections


def test_beyond_max_connections_a_503_and_streams_go_on(daemon: LiveDaemon, plain: str) -> None:
    put(daemon, "server: {max_connections: 6}\n" + plain)
    daemon.wait_until(lambda: gauge(daemon, "connections") == 1, 30, "the only one is our own")
    with contextlib.ExitStack() as held:
        streams = [held.enter_context(connect(daemon)) for _ in range(6)]
        for stream in streams:
            stream.sendall(request(200))
        for stream in streams:
            assert stream.recv(15) == b"HTTP/1.1 200 OK"
        with connect(daemon) as one_more:
            one_more.sendall(HEALTH)
            received = rest_of(one_more)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in received
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
        for stream in streams:
            stream.sendall(LAST)
            assert b"data: [DONE]" in rest_of(stream)
    assert httpx.get(daemon.url + "/health").status_code == 200


def test_a_connection_that_rests_makes_room(daemon: LiveDaemon, plain: str) -> None:
    put(daemon, "server: {max_connections: 4}\n" + plain)
    with contextlib.ExitStack() as held:
        for _ in range(4):
            connection = held.enter_context(connect(daemon))
            connection.sendall(HEALTH)
            connection.recv(4096)

        def let_in() -> bool:
            with connect(daemon) as another:
                another.sendall(HEALTH)
                return another.recv(15) == b"HTTP/1.1 200 OK"

        daemon.wait_until(let_in, 30, "one of those that rest is closed")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_without_files_left_clients_are_turned_away_until_there_are_some(
    daemon: LiveDaemon,
) -> None:
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    undisturbed = answers(daemon)
    with connect(daemon) as stream:
        stream.sendall(request(300))
        assert stream.recv(15) == b"HTTP/1.1 200 OK"
        open_files = psutil.Process(daemon.pid).num_fds()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (open_files, hard))
        try:
            for _ in range(20):
                with connect(daemon) as another:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        another.sendall(LAST)
                    # One that found a file that was just closed is answered.
                    assert rest_of(another)[:13] in (b"", b"HTTP/1.1 503 ", b"HTTP/1.1 200 ")
        finally:
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
        stream.sendall(LAST)
        assert b"data: [DONE]" in rest_of(stream)
    assert answers(daemon) == undisturbed


# ---- too much at once


def test_bodies_are_held_up_to_a_limit_all_together(daemon: LiveDaemon) -> None:
    half = b"Content-Length: %d" % (2 * 1024**2)
    with contextlib.ExitStack() as held:
        for _ in range(16):
            held.enter_context(connect(daemon)).sendall(post(half, b"{"))
        daemon.wait_until(lambda: gauge(daemon, "connections") >= 17, 30, "all are there")
        one_more = held.enter_context(connect(daemon))
        one_more.sendall(post(half, b"{"))
        received = one_more.recv(4096)
        assert received.startswith(b"HTTP/1.1 503 "), received
        assert b"retry-after: 1\r\n" in received
        assert httpx.get(daemon.url + "/health").status_code == 200
    large = {"model": "m", "prompt": "Hello", "max_tokens": 1, "left_alone": "x" * 2_000_000}
    assert httpx.post(daemon.url + "/v1/completions", json=large, timeout=60).status_code == 200


def test_requests_in_websockets_are_held_up_to_a_limit_all_together(daemon: LiveDaemon) -> None:
    long = {"type": "response.create", "model": "m", "input": "Hello", "ignore_eos": True}
    with websocket(daemon) as socket:
        socket.send(json.dumps(long | {"max_output_tokens": 4000}))
        for _ in range(17):
            socket.send(json.dumps(long | {"left_alone": "x" * 2_000_000}))
        event = json.loads(socket.recv(timeout=60))
        while event["type"] != "error":
            event = json.loads(socket.recv(timeout=60))
        assert (event["status"], event["error"]["code"]) == (503, "overloaded")
    daemon.wait_until(lambda: at_work(daemon) == 0, 30, "nothing runs or waits")
    with websocket(daemon) as socket:
        socket.send(json.dumps(long | {"max_output_tokens": 1, "left_alone": "x" * 2_000_000}))
        event = json.loads(socket.recv(timeout=60))
        assert event["type"] == "response.created", event


def websocket(daemon: LiveDaemon) -> ClientConnection:
    return websocket_to(daemon.url.replace("http", "ws") + "/v1/responses")


@pytest.mark.parametrize("kind", ["pings", "pieces"])
def test_a_flood_of_small_frames_ends_a_websocket(daemon: LiveDaemon, kind: str) -> None:
    with websocket(daemon) as socket:
        with pytest.raises(ConnectionClosed):
            if kind == "pieces":
                socket.send("" for _ in range(200_000))
            for _ in range(200_000):
                socket.ping()
        assert httpx.get(daemon.url + "/health").status_code == 200
    with websocket(daemon) as socket:
        asked = {"type": "response.create", "model": "m", "input": "Hello"}
        socket.ping().wait(60)
        socket.send(iter(json.dumps(asked | {"max_output_tokens": 1})))  # letter by letter
        assert json.loads(socket.recv(timeout=60))["type"] == "response.created"


# ---- what is not read, or left


def test_a_client_that_stops_reading_costs_nobody_anything(daemon: LiveDaemon) -> None:
    undisturbed = answers(daemon)
    front = psutil.Process(daemon.pid)
    before_bytes = front.memory_info().rss
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(connect(daemon, 32 * 1024)) for _ in range(4)]
        for connection in slow:
            connection.sendall(request(1500))
        daemon.wait_until(lambda: daemon.model("m")["requests_running"] == 4, 30)
        assert answers(daemon) == undisturbed
        assert front.memory_info().rss - before_bytes < 40 * MB
        # The engine went on without them: all is there once they read.
        for connection in slow:
            connection.sendall(LAST)
            received = rest_of(connection)
            assert received.count(b'"content":') >= 1000
            assert b"data: [DONE]" in received


def objects(pid: int, folder: Path, daemon: LiveDaemon) -> dict[str, int]:
    """What a process holds of ours and of what serves connections, by class, but for the prefixes
    that the cache keeps on purpose."""
    file = folder / f"{pid}.json"
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    daemon.wait_until(file.exists, 30, "it has counted")
    ours = ("fastmlx.", "sanic.", "asyncio.", "_asyncio.", "uvloop.")
    return {
        kind: n
        for kind, n in json.loads(file.read_text()).items()
        if kind.startswith(ours) and not kind.startswith("fastmlx.daemon.engine.kv.")
    }


def test_a_thousand_connections_dropped_in_the_middle_leave_nothing(
    daemon: LiveDaemon, counts: Path
) -> None:
    def drop(number: int) -> None:
        with contextlib.ExitStack() as held:
            connections = [held.enter_context(connect(daemon)) for _ in range(number)]
            for connection in connections:
                connection.sendall(request(4000))
            for connection in connections:
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
        daemon.wait_until(lambda: at_work(daemon) == 0, 30, "the engine is idle")

    def left() -> tuple[int, int, int]:
        return (gauge(daemon, "connections"), gauge(daemon, "tasks"), front.num_fds())

    def grown() -> dict[str, int]:
        """Kinds of objects of which there are more than before, but for a few that come and go."""
        now = [objects(pid, counts, daemon) for pid in pids]
        return {
            kind: n - before.get(kind, 0)
            for mine, before in zip(now, held, strict=True)
            for kind, n in mine.items()
            if n - before.get(kind, 0) > 20
        }

    front = psutil.Process(daemon.pid)
    drop(100)  # pools and buffers grow to their size
    before, before_bytes = left(), front.memory_info().rss
    pids = [daemon.pid, daemon.model("m")["pid"]]
    held = [objects(pid, counts, daemon) for pid in pids]
    for _ in range(10):
        drop(100)
    daemon.wait_until(lambda: left() <= before, 30, f"connections, tasks and files as in {before}")
    assert front.memory_info().rss - before_bytes < 20 * MB
    daemon.wait_until(lambda: not grown(), 30, "no objects are left of a thousand requests")


# ---- what is no request


def test_a_header_that_is_none_is_refused(daemon: LiveDaemon) -> None:
    for line in (b"GET /health\x1b[31m", b"GET /\n/health", b"GET http://[x/"):
        refused(daemon, line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")


def refused(daemon: LiveDaemon, raw: bytes) -> None:
    """Nothing behind what is wrong is taken for a request."""
    with connect(daemon) as connection:
        connection.sendall(raw + HEALTH)
        received = rest_of(connection)
    assert received.startswith(b"HTTP/1.1 400 "), (raw, received)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["message"], raw


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding:\xc2\xa0chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 2",
        b"X: y\rZ: y\r\nContent-Length: 2",
        b"X: \x00\r\nContent-Length: 2",
        b"Content-Length: \xd9\xa2",
        b"Content-Length: 2, 2",
        b"Content-Length: +2",
        b"Content-Length: 2\r\nHost: localhost",
    ],
)
def test_no_two_programs_may_differ_on_where_a_request_ends(
    daemon: LiveDaemon, headers: bytes
) -> None:
    refused(daemon, post(headers, b"{}"))


@pytest.mark.parametrize(
    "chunks",
    [b"0x2\r\n{}\r\n", b" 2\r\n{}\r\n", b"2;a\nb\r\n{}\r\n", b"2\r\n{}XX", b"1_0\r\n{}", b"2" * 20],
)
def test_chunks_are_cut_as_every_program_would(daemon: LiveDaemon, chunks: bytes) -> None:
    refused(daemon, post(b"Transfer-Encoding: chunked", chunks + b"0\r\n\r\n"))


def test_very_many_small_chunks_are_no_body(daemon: LiveDaemon) -> None:
    with connect(daemon) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(post(b"Transfer-Encoding: chunked", b"1\r\n \r\n" * 100_000))
        assert rest_of(connection)[:13] in (b"HTTP/1.1 400 ", b"")
    assert httpx.get(daemon.url + "/health").status_code == 200


def test_a_body_comes_in_chunks_of_any_size_and_not_compressed(daemon: LiveDaemon) -> None:
    body = json.dumps({"model": "m", "prompt": "Hello", "max_tokens": 1}).encode()
    with httpx.Client(base_url=daemon.url) as client:
        for cut in (1, 7, len(body)):
            pieces = (body[at : at + cut] for at in range(0, len(body), cut))
            assert client.post("/v1/completions", content=pieces).status_code == 200
        packed = client.post("/v1/completions", content=body, headers={"content-encoding": "gzip"})
    assert (packed.status_code, packed.json()["error"]["code"]) == (415, "invalid_request")


def post(headers: bytes, body: bytes) -> bytes:
    return b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n" + body


def test_a_header_has_a_largest_size(daemon: LiveDaemon) -> None:
    many = b"".join(b"x-%d: y\r\n" % number for number in range(5_000))
    with connect(daemon) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
        assert rest_of(connection)[:13] in (b"HTTP/1.1 413 ", b"")
    assert httpx.get(daemon.url + "/health").status_code == 200


def test_requests_that_are_sent_ahead_are_answered_in_order(daemon: LiveDaemon) -> None:
    with connect(daemon) as connection:
        last = b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request(5) + HEALTH * 3 + last)
        received = rest_of(connection)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", received)
    assert statuses == [b"200"] * 4 + [b"404"]


@pytest.mark.parametrize("pieces", [8, 64], ids=["as much as is read", "more"])
def test_garbage_behind_a_request_ends_it(daemon: LiveDaemon, pieces: int) -> None:
    with connect(daemon) as connection:
        connection.sendall(request(4000))
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(pieces):
                connection.sendall(b"\x00garbage" * 1024)
        daemon.wait_until(lambda: at_work(daemon) == 0, 30, "the request has ended")
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(1 << 16):
                received += piece
        assert b"[DONE]" not in received, "it was answered to its end"
