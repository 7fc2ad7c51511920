"""Sanic's signals, of which those of a request cost nothing where nobody listens.

Sanic looks for listeners about sixteen times a request, and would for each of them build an
exception to find that there is none. Its own remedy (TOUCHUP) rewrites its methods, which works
once in a process.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from sanic.signals import SignalRouter

_NAMESPACE = "http."


class QuietSignals(SignalRouter):
    """For one application."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = False  # whether anybody listens to what happens to a request

    def finalize(self, *args: Any, **kwargs: Any) -> None:
        super().finalize(*args, **kwargs)
        self._heard = any(route.path.startswith(_NAMESPACE) for route in self.routes)

    async def dispatch(self, event: str | Enum, **options: Any) -> Any:
        name = event.value if isinstance(event, Enum) else event
        if not self._heard and name.startswith(_NAMESPACE):
            return None
        return await super().dispatch(event, **options)
