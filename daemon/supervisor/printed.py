"""What a child prints, on stdout and stderr: every line is handed on, the last ones are kept.

A pipe and not a file: what comes is written to the one log that rotates, under the model's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import deque
from collections.abc import Callable

TAIL_LINES = 12
KEPT_LINES = 200  # a trace is printed after the words that say why
LONGEST_LINE = 4000  # characters
_ENDS = re.compile(rb"[\r\n]+")  # progress bars write carriage returns


class Printed(asyncio.Protocol):
    """The reading end; `on_line` is called in the event loop."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def open(cls, on_line: Callable[[str], None]) -> tuple[Printed, int]:
        """With the file descriptor for the child; the caller closes it."""
        ours, theirs = os.pipe()
        reading = os.fdopen(ours, "rb", buffering=0)
        try:
            loop = asyncio.get_running_loop()
            _, printed = await loop.connect_read_pipe(lambda: cls(on_line), reading)
        except BaseException:
            reading.close()
            os.close(theirs)
            raise
        return printed, theirs

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines."""
        return "\n".join(list(self._kept)[-lines:])

    def close(self) -> None:
        """Nothing more is read; for a pipe that a grandchild may keep open."""
        if self._transport is not None:
            self._transport.close()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = _ENDS.split(self._rest + data)
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take(self._rest)
        self._rest = b""
        with contextlib.suppress(asyncio.InvalidStateError):
            self.closed.set_result(None)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            text = text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "…"
            self._kept.append(text)
            self._on_line(text)
