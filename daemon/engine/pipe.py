"""The engine's end of the socket: two threads, so that the MLX thread never waits for bytes."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading

import msgspec

from ..protocol import wire
from ..protocol.channel import ChannelError, Decoder, encode

_CHUNK_BYTES = 1 << 18


class Pipe:
    """Messages from the front in `inbox`, messages to it through `send`.

    When the front is gone (the socket closes) the process exits at once: there is nobody to
    work for, and nothing here that a later start would need.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.inbox: queue.SimpleQueue[wire.ToEngine] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[msgspec.Struct | None] = queue.SimpleQueue()
        self._connection = connection
        connection.setblocking(True)
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def send(self, message: msgspec.Struct) -> None:
        """Queues a message; never blocks. The message must not be changed afterwards."""
        self._outbox.put(message)

    def close(self) -> None:
        """Writes what is queued, then closes."""
        self._outbox.put(None)
        self._writer.join(timeout=5)

    def _read(self) -> None:
        decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
        try:
            while data := self._connection.recv(_CHUNK_BYTES):
                for message in decoder.feed(data):
                    self.inbox.put(message)
        except ChannelError as error:
            print(f"the front sent what is not our protocol: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        except OSError:
            pass
        os._exit(0)

    def _write(self) -> None:
        try:
            while (message := self._outbox.get()) is not None:
                self._connection.sendall(encode(message))
        except OSError:
            os._exit(0)
