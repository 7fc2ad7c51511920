"""What buttons start: loading takes minutes, so nobody waits for its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ..daemon.protocol.errors import FastMLXError

log = logging.getLogger(__name__)

FIRST_LOOK_S = 0.25  # what fails at once is on the page that answers the click


class Actions:
    """Runs one action per model in the background and keeps why the last one failed.

    What the supervisor keeps (broken files, deaths) is in the model's status; this is for what it
    tells only the caller: no room in memory, or a shutdown.
    """

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def failure(self, model: str) -> str | None:
        """Why the last action on the model came to nothing; None when it did not fail."""
        return self._failures.get(model)

    async def start(self, model: str, action: Coroutine[Any, Any, None]) -> None:
        """Begin the action; returns when it ends or after a moment, whichever comes first."""
        self._failures.pop(model, None)
        task = asyncio.create_task(self._run(model, action))
        self._tasks.add(task)  # the event loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=FIRST_LOOK_S)

    async def _run(self, model: str, action: Coroutine[Any, Any, None]) -> None:
        try:
            await action
        except FastMLXError as error:
            self._failures[model] = error.message
            log.warning("%s: %s", model, error.message)
        except Exception:
            self._failures[model] = "Something went wrong; the log says more."
            log.exception("an action on %s failed", model)
