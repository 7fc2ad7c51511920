"""Who has signed in to the dashboard: random tokens in a cookie, of which only digests are kept.

They survive a restart, in run/sessions.json; a new password ends them all.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

import msgspec

from ...config.paths import Home
from .file import write_private
from .keys import digest_of

COOKIE = "fastmlx_session"
LIFE_S = 7 * 86_400
MAX_SESSIONS = 100


class Sessions:
    """Of one home. Blocking: a small file is written when somebody signs in or out."""

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        self._path = home.run / "sessions.json"
        self._clock = clock
        self._ends: dict[str, float] = {}  # digest of token and password → seconds since the epoch
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._ends = msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])

    def begin(self, password: str) -> str:
        """The token of a new session under this password (as it is kept)."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        live = sorted((end, digest) for digest, end in self._ends.items() if end > now)
        self._ends = {digest: end for end, digest in live[1 - MAX_SESSIONS :]}
        self._ends[_digest(token, password)] = now + LIFE_S
        self._write()
        return token

    def holds(self, token: str, password: str) -> bool:
        return self._ends.get(_digest(token, password), 0.0) > self._clock()

    def end(self, token: str, password: str) -> None:
        if self._ends.pop(_digest(token, password), None) is not None:
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # then a restart ends them
            write_private(self._path, msgspec.json.encode(self._ends))


def _digest(token: str, password: str) -> str:
    return digest_of(f"{token} {password}")
