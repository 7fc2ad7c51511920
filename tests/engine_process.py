"""An engine as a process of its own, and this end of its socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
from fastmlx.daemon.protocol import channel, wire

T = TypeVar("T")


class Engine:
    """A real engine process and this end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(60)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastmlx.daemon.engine", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        self._decoder: channel.Decoder[wire.ToFront] = channel.Decoder(wire.ToFront)
        self._messages: list[wire.ToFront] = []

    def send(self, message: wire.ToEngine) -> None:
        self.socket.sendall(channel.encode(message))

    def messages(self) -> Iterator[wire.ToFront]:
        """Everything the engine says, until it closes the socket."""
        while True:
            while self._messages:
                yield self._messages.pop(0)
            data = self.socket.recv(1 << 16)
            if not data:
                return
            self._messages += self._decoder.feed(data)

    def wait_for(self, kind: type[T]) -> T:
        for message in self.messages():
            if isinstance(message, kind):
                return message
        raise AssertionError(f"the engine ended without saying {kind.__name__}")

    def load(self, folder: Path) -> wire.Ready:
        self.send(wire.Load("m", str(folder)))
        return self.wait_for(wire.Ready)

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate()


def gone(pids: Iterable[int], within_s: float = 10.0) -> bool:
    """Whether all of these processes end in time; what nobody reaped yet has ended, too."""
    pids = list(pids)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(map(_runs, pids)):
            return True
        time.sleep(0.02)
    return False


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
