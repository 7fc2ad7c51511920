"""A client that goes away: its sequence leaves the engine at once, and the books say so."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from live import LiveDaemon


def send(daemon: LiveDaemon, path: str = "/v1/chat/completions", **fields: object) -> socket.socket:
    """A request that would run for long; the connection is the caller's."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
    body |= {"ignore_eos": True, "max_tokens": 4000} | fields
    content = json.dumps(body).encode()
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: %d\r\n\r\n" % (path.encode(), len(content)) + content
    )
    return connection


def running(daemon: LiveDaemon) -> int:
    return daemon.model("tiny")["requests_running"]


@pytest.fixture(autouse=True)
def _nothing_left(daemon: LiveDaemon) -> Iterator[None]:
    daemon.wait_until(lambda: running(daemon) == 0, what="an idle model")
    yield
    daemon.wait_until(lambda: running(daemon) == 0, timeout_s=2, what="no sequence is left")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 2])
def test_closing_the_connection_ends_the_sequence(daemon: LiveDaemon, stream: bool, n: int) -> None:
    with send(daemon, stream=stream, n=n):
        daemon.wait_until(lambda: running(daemon) > 0, what="the request runs")


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_ends_with_its_connection(daemon: LiveDaemon, stream: bool) -> None:
    with send(daemon, "/v1/responses", input="Hello", max_output_tokens=4000, stream=stream):
        daemon.wait_until(lambda: running(daemon) > 0, what="the request runs")


def test_it_is_noticed_after_a_body_of_many_packets(daemon: LiveDaemon) -> None:
    # Sanic stops reading from a connection whose body exceeded its buffer.
    with send(daemon, user="x" * 500_000):
        daemon.wait_until(lambda: running(daemon) > 0, what="the request runs")


def test_a_reset_connection_is_noticed(daemon: LiveDaemon) -> None:
    with send(daemon, stream=True) as connection:
        daemon.wait_until(lambda: running(daemon) > 0, what="the request runs")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_the_usage_row_says_cancelled(daemon: LiveDaemon) -> None:
    # Rows are written a moment later: those of the tests before may still come.
    began_ms = time.time_ns() // 1_000_000

    def cancelled() -> int:
        with closing(sqlite3.connect(f"file:{daemon.home}/fastmlx.db?mode=ro", uri=True)) as db:
            (count,) = db.execute(
                "select count(*) from usage where finish_reason = 'cancelled' and at_ms >= ?",
                (began_ms,),
            ).fetchone()
            return count

    with send(daemon, stream=True):
        daemon.wait_until(lambda: running(daemon) > 0, what="the request runs")
    daemon.wait_until(lambda: cancelled() == 1, what="a row that says cancelled")
