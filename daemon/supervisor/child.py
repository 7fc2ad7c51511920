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
from pathlib import Path
from typing import Any, cast

import msgspec

from ..protocol import wire
from ..protocol.channel import ChannelError, Decoder, encode

LOG_ROTATE_BYTES = 1 << 20
TAIL_BYTES = 4000
TAIL_LINES = 12


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Patience with children, in seconds."""

    term_after_s: float = 2.0  # from wire.Stop to SIGTERM
    kill_after_s: float = 5.0  # from wire.Stop to SIGKILL
    last_words_s: float = 1.0  # from the end of the process to that of its socket, and back
    load_silence_s: float = 900.0  # a load that reports nothing for so long hangs


class Child(asyncio.Protocol):
    """A running child. `ended` is done when its process or its socket ended, whichever was first;
    `reap()` must be awaited in any case."""

    def __init__(self, on_message: Callable[[wire.ToFront], None], log: Path) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.broken: str | None = None  # what was wrong with the bytes it sent
        self._on_message = on_message
        self._decoder: Decoder[wire.ToFront] = Decoder(wire.ToFront)
        self._log = log
        self._log_start = 0
        self._socket_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None

    @classmethod
    async def spawn(
        cls, command: Sequence[str], log: Path, on_message: Callable[[wire.ToFront], None]
    ) -> Child:
        """Start `command --fd N`, its output appended to `log`. Raises OSError.

        When this is cancelled nothing is left over.
        """
        child = cls(on_message, log)
        output = child._open_log()
        ours, theirs = socket.socketpair()
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
        await asyncio.wait({self._exit}, timeout=timing.last_words_s)
        by_itself = self._exit.done()
        if by_itself:  # a grandchild may keep the socket open: do not wait for long
            await asyncio.wait({self._socket_closed}, timeout=timing.last_words_s)
        self._signal(signal.SIGKILL)
        self._transport.abort()
        await asyncio.wait({self._exit, self._socket_closed}, return_when=asyncio.ALL_COMPLETED)
        return self._exit.result() if by_itself else None

    def tail(self) -> str:
        """The last lines that this child wrote to its log."""
        try:
            with self._log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, end - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-TAIL_LINES:])

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

    def _open_log(self) -> int:
        """File descriptor of the log, rotated when large."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        try:
            if self._log.stat().st_size > LOG_ROTATE_BYTES:
                self._log.replace(self._log.with_name(self._log.name + ".1"))
        except OSError:  # not there yet, or not ours to move: append
            pass
        output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_start = os.fstat(output).st_size
        return output
