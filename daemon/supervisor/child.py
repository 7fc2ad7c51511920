"""One child process and the socket to it: machinery only, it decides nothing.

The socket is one end of a socketpair; the child gets the other as `--fd N`. There are no names to
clash or to leave behind, and when either side dies the other reads the end of the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from ..protocol import wire
from ..protocol.channel import ChannelError, Decoder, encode
from .printed import TAIL_LINES, Printed


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Patience with children, in seconds."""

    term_after_s: float = 2.0  # from wire.Stop to SIGTERM
    kill_after_s: float = 5.0  # from wire.Stop to SIGKILL
    last_words_s: float = 1.0  # from the end of the process to that of its socket, and back
    load_silence_s: float = 900.0  # a load that reports nothing for so long hangs


class Child(asyncio.Protocol):
    """A running child. `ended` is done when its process or its socket ended, whichever was first;
    `reap()` must be awaited in any case."""

    def __init__(self, on_message: Callable[[wire.ToFront], None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.broken: str | None = None  # what was wrong with the bytes it sent
        self._on_message = on_message
        self._decoder: Decoder[wire.ToFront] = Decoder(wire.ToFront)
        self._printed: Printed | None = None
        self._socket_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        on_message: Callable[[wire.ToFront], None],
        on_line: Callable[[str], None],
    ) -> Child:
        """Start `command --fd N`; `on_line` is called with each line that it prints. Raises
        OSError. When this is cancelled nothing is left over.
        """
        child = cls(on_message)
        child._printed, output = await Printed.open(on_line)
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            os.close(output)
            child._printed.close()
            raise
        try:
            # A session of its own: Ctrl-C in a terminal reaches only the front.
            child._process = await asyncio.create_subprocess_exec(
                *command,
                "--fd",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            child._exit = asyncio.create_task(child._process.wait())
            child._exit.add_done_callback(child._on_exit)
            theirs.close()  # or we would never read the end of the stream
            await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        except BaseException:
            ours.close()
            child._printed.close()
            if child._process is not None:
                child.kill()
            raise
        finally:
            theirs.close()
            os.close(output)
        return child

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, message: wire.ToEngine) -> None:
        """Never blocks; bytes that the child does not read yet wait in the transport."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(encode(message))

    async def stop(self, timing: Timing) -> None:
        """Ask politely, then less so; returns when the whole process group is gone."""
        assert self._exit is not None
        self.send(wire.Stop())
        patience_s = (timing.term_after_s, timing.kill_after_s - timing.term_after_s)
        for wait_s, next_signal in zip(patience_s, (signal.SIGTERM, signal.SIGKILL), strict=True):
            done, _ = await asyncio.wait({self._exit}, timeout=max(0.0, wait_s))
            if done:
                break
            self._signal(next_signal)
        await self.reap(timing)

    async def reap(self, timing: Timing) -> int | None:
        """The exit status (negative: a signal), or None when it had to be killed here.

        Messages that lie in the socket are delivered first; then the process group is killed.
        """
        assert self._exit is not None
        assert self._transport is not None
        assert self._printed is not None
        await asyncio.wait({self._exit}, timeout=timing.last_words_s)
        by_itself = self._exit.done()
        last_words = {self._socket_closed, self._printed.closed}
        if by_itself:  # a grandchild may keep them open: do not wait for long
            await asyncio.wait(last_words, timeout=timing.last_words_s)
        self._signal(signal.SIGKILL)
        if not by_itself:  # what it printed lies in the pipe
            await asyncio.wait({self._printed.closed}, timeout=timing.last_words_s)
        self._printed.close()
        self._transport.abort()
        await asyncio.wait({self._exit, self._socket_closed}, return_when=asyncio.ALL_COMPLETED)
        return self._exit.result() if by_itself else None

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines that this child printed."""
        return self._printed.tail(lines) if self._printed is not None else ""

    def interrupt(self) -> None:
        """SIGABRT: one that hangs writes where into its log, and ends."""
        self._signal(signal.SIGABRT)

    def kill(self) -> None:
        """At once and without waiting, for a front that ends in a hurry."""
        self._signal(signal.SIGKILL)

    def give_up(self) -> None:
        """Count as ended, also when it is not yet: `reap()` makes it so."""
        if not self.ended.done():
            self.ended.set_result(None)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._on_message(message)
        except ChannelError as error:
            self.broken = str(error)
            assert self._transport is not None
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._socket_closed.set_result(None)
        self.give_up()

    # ----

    def _on_exit(self, _: asyncio.Task[Any]) -> None:
        self.give_up()

    def _signal(self, number: signal.Signals) -> None:
        # Its pid is its group: start_new_session. The group outlives it while it has members.
        # On macOS a group of zombies answers EPERM.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
