"""Every rank but 0: does what rank 0 does, on the same messages, and tells nobody the tokens."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ...protocol.channel import ChannelError, Decoder, encode
from ...protocol.wire import Load, LoadFailed, Ready, ToEngine
from .lockstep import Lockstep
from .messages import Decision, FromLeader, Hello, Loaded, Messages, Start

if TYPE_CHECKING:
    import mlx.core as mx
    import mlx.nn as nn

    from .ring import Ring

_CHUNK_BYTES = 1 << 18
_IDLE_S = 0.5  # after which freed memory is given back


class Follower(Lockstep):
    alone = False

    def __init__(self, rank: int) -> None:
        """Takes stdin and stdout for itself; what others print goes to stderr."""
        self._rank = rank
        self._ring: Ring | None = None
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        self._start: Start | None = None
        self._inbox: queue.SimpleQueue[FromLeader] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def meet(self) -> Load:
        """Says where this rank can be met and returns what to load. mlx is imported by now."""
        from .ring import free_port

        self.tell(Hello(free_port()))
        start = self._inbox.get()
        assert isinstance(start, Start)
        self._start = start
        return start.load

    def tell(self, message: msgspec.Struct) -> None:
        """To rank 0; ends the process when that is gone."""
        try:
            frame = memoryview(encode(message))
            while frame:
                frame = frame[os.write(self._out, frame) :]
        except OSError:
            os._exit(0)

    # ---- Lockstep

    def join(self) -> None:
        from .ring import Ring

        assert self._start is not None
        group = self._start.load.distributed
        assert group is not None
        self._ring = Ring(self._rank, self._start.addresses, group.mode)

    def split(self, model: nn.Module, config: dict[str, Any]) -> None:
        assert self._ring is not None
        self._ring.split(model, config)

    def share(self, messages: list[ToEngine]) -> list[ToEngine]:
        try:
            shared = self._inbox.get(timeout=_IDLE_S)
        except queue.Empty:
            from ..device import release_unused_memory

            release_unused_memory()
            shared = self._inbox.get()
        assert isinstance(shared, Messages), "the ranks are out of step"
        return shared.messages

    def agree(self, value: float) -> float:
        decision = self._inbox.get()
        assert isinstance(decision, Decision), "the ranks are out of step"
        return decision.value

    def first(self, tokens: mx.array) -> mx.array:
        assert self._ring is not None
        return self._ring.first(tokens)

    def alike(self, words: list[str]) -> bool:
        assert self._ring is not None
        return self._ring.alike(words)

    def ready(self, ready: Ready) -> Ready:
        self.tell(Loaded(ready.memory_bytes))
        return ready

    # ----

    def _read(self) -> None:
        decoder: Decoder[FromLeader] = Decoder(FromLeader)
        try:
            while data := os.read(self._in, _CHUNK_BYTES):
                for message in decoder.feed(data):
                    self._inbox.put(message)
        except ChannelError as error:
            print(f"rank 0 sent what is not our protocol: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        except OSError:
            pass
        os._exit(0)


def run(rank: int) -> int:
    """Serves rank 0 until told to stop; returns the process's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the front's business
    follower = Follower(rank)
    from .. import lean

    lean.install()
    load = follower.meet()
    from ..loop import Failed, handle, prepare

    try:
        core, reporter = prepare(load, follower, lambda message: None)
    except Failed as failure:
        follower.tell(LoadFailed(str(failure)))
        return 1
    while True:
        for message in follower.share([]):
            if not handle(core, message):
                os._exit(0)  # the ring is not taken apart in order: rank 0 goes, too
        if not core.idle:
            core.step()
        core.rejected.clear()
        stats = reporter.due(time.monotonic())
        if stats is not None:
            follower.tell(stats)
