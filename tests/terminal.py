"""A program in a terminal of its own: a pseudo-terminal, typed into and read like a person does."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Self

CTRL_C, CTRL_D = "\x03", "\x04"

# Makes stdin the terminal of its session, so that Ctrl-C becomes a signal, then is the command.
# Like a shell it gives the command the usual signals: jobs in the background (a test run may be
# one) have SIGINT ignored, and their children inherit that.
OWN_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs `command` on a pseudo-terminal. `shown` is everything that it has printed so far."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TERM": "xterm"} | environment,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, timeout_s: float = 20.0, *, after: int = 0) -> int:
        """Read until `text` is shown behind position `after`; returns the position behind it."""
        deadline = time.monotonic() + timeout_s
        while (found := self.shown.find(text, after)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come; shown: {self.shown[after:]!r}"
            self._read(left)
        return found + len(text)

    def wait_for_end(self, timeout_s: float = 20.0) -> int:
        """The exit status, once everything that was printed is read."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end; shown: {self.shown!r}"
            self._read(0.05)
        self._read(0)
        return self.process.returncode

    def _read(self, timeout_s: float) -> None:
        if select.select([self._master], [], [], timeout_s)[0]:
            # EIO: nobody has the terminal open any more.
            with contextlib.suppress(OSError):
                self.shown += os.read(self._master, 65536).decode(errors="replace")
