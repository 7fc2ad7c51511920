"""Many changes, few calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PAUSE_S = 0.05


class Notice:
    """Calling it calls all of `targets` a moment later; calls until then are the same call."""

    def __init__(self, *targets: Callable[[], None] | None) -> None:
        self._targets = [target for target in targets if target is not None]
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._fire)

    def cancel(self) -> None:
        """The call that is due is not made."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._timer = None
        for target in self._targets:
            target()
