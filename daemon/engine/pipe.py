"""The engine's end of the socket, read and written where it is used: on the MLX thread.

    take  ◄── what lies in the socket, in one system call; an idle engine waits here
    send  ──► what the socket takes at once; what it does not take, the writer's thread sends

A thread that reads would have to be woken for every message, then to get Python's lock from a
thread that is building a step, and to wake that one in turn. There is one only to see the end.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import sys
import threading
import time

import msgspec

from ..protocol import wire
from ..protocol.channel import ChannelError, Decoder, encode

_CHUNK_BYTES = 1 << 18
_WAIT_S = 60.0
_LOOK_S = 0.1  # at whether the front is there, where a system wakes the watch for messages, too


class Pipe:
    """Messages from the front through `take`, messages to it through `send`.

    When the front is gone (the socket closes) the process exits at once: there is nobody to
    work for, and nothing here that a later start would need.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._queued = 0  # frames in the outbox, or on their way out of it
        self._sending = threading.Lock()
        self._connection = connection
        self._decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
        self._unread: list[wire.ToEngine] = []
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        connection.setblocking(True)
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        self._writer.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    # ---- from the front, by one thread

    def first(self) -> wire.ToEngine:
        """The first message of all."""
        while not self._unread:
            self._unread = self.take(_WAIT_S)
        return self._unread.pop(0)

    def take(self, wait_s: float = 0.0) -> list[wire.ToEngine]:
        """All messages that are there, in their order; waits so long for one."""
        messages, self._unread = self._unread, []
        messages += self._read()
        if messages or not wait_s:
            return messages
        until_s = time.monotonic() + wait_s
        while not messages and (left_s := until_s - time.monotonic()) > 0:
            if self._readable.poll(left_s * 1000):
                messages = self._read()  # of a long one perhaps a part, and so none
        return messages

    def _read(self) -> list[wire.ToEngine]:
        messages: list[wire.ToEngine] = []
        try:
            while True:
                data = self._connection.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
                if not data:
                    os._exit(0)
                messages += self._decoder.feed(data)
                if len(data) < _CHUNK_BYTES:
                    return messages
        except BlockingIOError:
            return messages
        except ChannelError as error:
            print(f"the front sent what is not our protocol: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        except OSError:
            os._exit(0)

    def _watch(self) -> None:
        """The front may go while a model is loaded, or in the middle of a long step."""
        hung_up = select.poll()
        hung_up.register(self._connection, select.POLLHUP)
        while not any(event & select.POLLHUP for _, event in hung_up.poll()):
            time.sleep(_LOOK_S)  # macOS wakes for what can be read, too
        os._exit(0)

    # ---- to the front

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

    def _write(self) -> None:
        try:
            while (frame := self._outbox.get()) is not None:
                self._connection.sendall(frame)
                with self._sending:
                    self._queued -= 1
        except OSError:
            os._exit(0)
