"""The engine's end of the socket. How it ends the process stands in test_process.py."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from fastmlx.daemon.engine.pipe import Pipe
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import encode

PATIENCE_S = 20.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Pipe]]:
    """The front's end, and the engine's."""
    front, ours = socket.socketpair()
    os.dup(front.fileno())  # stays open until this process ends: else the pipe would end it
    with front:
        front.settimeout(PATIENCE_S)
        yield front, Pipe(ours)


def ids_of(messages: list[wire.ToEngine]) -> list[int]:
    return [message.id for message in messages if isinstance(message, wire.Abort)]


def test_all_that_lies_there_is_taken_at_once_in_its_order(
    ends: tuple[socket.socket, Pipe],
) -> None:
    front, pipe = ends
    assert pipe.take() == []
    front.sendall(b"".join(encode(wire.Abort(number)) for number in range(100)))
    assert ids_of(pipe.take(PATIENCE_S)) == list(range(100))
    assert pipe.take() == []


def test_the_first_message_is_given_apart_and_what_came_with_it_later(
    ends: tuple[socket.socket, Pipe],
) -> None:
    front, pipe = ends
    front.sendall(b"".join(encode(wire.Abort(number)) for number in range(3)))
    assert ids_of([pipe.first()]) == [0]
    front.sendall(encode(wire.Abort(3)))
    assert ids_of(pipe.take()) + ids_of(pipe.take()) == [1, 2, 3]


def test_a_message_larger_than_the_socket_takes_is_waited_for(
    ends: tuple[socket.socket, Pipe],
) -> None:
    front, pipe = ends
    long = wire.Embed(1, [list(range(100_000))] * 5, None)
    sending = threading.Thread(target=front.sendall, args=(encode(long),))
    sending.start()
    assert pipe.take(PATIENCE_S) == [long]
    sending.join()
