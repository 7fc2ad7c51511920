"""Whether anybody uses the daemon: for one that may exit, as launchd or systemd starts it again at
the next connection."""

from __future__ import annotations

import time

# Asked by monitors, the menu bar and `fastmlx top`: looking is no use.
WATCHED = frozenset({"/health", "/metrics", "/api/status"})


class Activity:
    """When the daemon was used last."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def asked(self, path: str) -> None:
        """A request came in."""
        if path not in WATCHED:
            self._last_s = time.monotonic()

    def goes_on(self) -> None:
        """Something is at work, with or without a client."""
        self._last_s = time.monotonic()

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._last_s
