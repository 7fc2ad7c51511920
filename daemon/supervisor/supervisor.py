"""Which engines run: leases, declared models, room in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from ..protocol.errors import FastMLXError
from .lease import Lease
from .status import ModelStatus

if TYPE_CHECKING:
    from ...config.paths import Home
    from ...config.settings import ModelSpec

ENGINE_COMMAND = (sys.executable, "-m", "fastmlx.daemon.engine")


class Supervisor:
    """All engine processes of this front. Use it from one event loop only."""

    def __init__(
        self,
        *,
        home: Home,
        memory_limit_bytes: int,
        command: Sequence[str] = ENGINE_COMMAND,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`on_change` is called, at most about 20 times a second, after something that `status()`
        reports has changed (not for every token)."""
        raise NotImplementedError

    async def declare(
        self,
        name: str,
        spec: ModelSpec,
        *,
        idle_timeout_s: float,
        max_concurrent: int,
        max_waiting: int,
    ) -> None:
        """A model exists, or its entry changed. Never raises for a bad model: `status()` says it."""
        raise NotImplementedError

    async def withdraw(self, name: str) -> None:
        """The model is no longer declared: no new leases; its engine stops when the last request
        ended. Returns at once. Unknown names are ignored."""
        raise NotImplementedError

    def set_memory_limit(self, limit_bytes: int) -> None:
        """What all engines together may use; idle ones are evicted when it shrank."""
        raise NotImplementedError

    def lease(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """Use a model, by its name or an alias, starting it if need be."""
        raise NotImplementedError

    async def load(self, name: str) -> None:
        """Start the model and wait until it is ready; tries again one that failed.

        Raises ModelNotFound, ModelFailed, Overloaded."""
        raise NotImplementedError

    async def unload(self, name: str) -> None:
        """Let running requests end, then stop the engine; returns when it is gone. Requests that
        come meanwhile wait and load it again; those that waited for a load in progress get
        Overloaded. Raises ModelNotFound."""
        raise NotImplementedError

    def status(self) -> list[ModelStatus]:
        """All models in the order of their declaration."""
        raise NotImplementedError

    async def stop(self, drain_s: float) -> None:
        """No new leases; wait up to `drain_s` for running requests, then end every engine. The
        requests still running then get FastMLXError. Nothing is left over."""
        raise NotImplementedError


__all__ = ["ENGINE_COMMAND", "FastMLXError", "Lease", "ModelStatus", "Supervisor"]
