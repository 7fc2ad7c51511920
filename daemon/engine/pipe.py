"""The engine's end of the socket: the MLX thread never waits for bytes.

What the socket takes at once is sent where it is said, as waking a thread for it costs more; one
thread sends what it does not take, another one reads.
"""

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
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._queued = 0  # frames in the outbox, or on their way out of it
        self._sending = threading.Lock()
        self._connection = connection
        connection.setblocking(True)
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def send(self, message: msgspec.Struct) -> None:
        """Sends a message, behind those that are queued; never blocks."""
        frame = encode(message)
        with self._sending:
            if not self._queued:
                frame = frame[self._send_now(frame) :]
                if not frame:
                    return
            self._queued += 1
            self._outbox.put(frame)

    def _send_now(self, frame: bytes) -> int:
        """How many of its bytes the socket has taken."""
        try:
            return self._connection.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            os._exit(0)

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
            while (frame := self._outbox.get()) is not None:
                self._connection.sendall(frame)
                with self._sending:
                    self._queued -= 1
        except OSError:
            os._exit(0)
