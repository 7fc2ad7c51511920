"""The running daemon follows config.yaml: a saved file takes effect, or is refused and says why."""

from __future__ import annotations

import asyncio
import logging

from ..config.errors import ConfigError
from ..config.load import load_file
from ..config.settings import Settings
from .access.exposure import refuse_exposed
from .reconcile import reconcile
from .tasks.front import Front

log = logging.getLogger(__name__)

REWATCH_S = 1.0  # until config.yaml is watched again


class Following:
    """What of the file is in force in one run of the daemon.

    With `fixed_log_level` the level comes from the command line, and the file's does not count.
    """

    def __init__(self, front: Front, *, fixed_log_level: bool) -> None:
        self._front = front
        self._config = front.config
        self._fixed_log_level = fixed_log_level
        self._applying = asyncio.Lock()

    async def apply(self, old: Settings | None, new: Settings) -> None:
        """Puts `new` in force; `old` is what was, None at the start."""
        async with self._applying:
            report = await reconcile(old, new, self._front.supervisor)
            self._config.accept(new)
            if not self._fixed_log_level:
                logging.getLogger().setLevel(new.server.log_level.upper())
                self._front.supervisor.set_log_level()
            for line in report.lines:
                log.info(line)

    async def run(self, text: str) -> None:
        """Takes each edit, for ever. `text` is what the file said when it was read last."""
        from ..config.watch import watch

        while True:
            try:
                async for found in watch(self._config.path, known=text):
                    await self._take(found)
            except Exception:  # whatever it is: a daemon that no longer hears of edits is worse
                log.exception("config.yaml could not be watched; trying again")
            await asyncio.sleep(REWATCH_S)

    def reload(self) -> None:
        """Reads the file now, changed or not: for SIGHUP."""
        try:
            found = load_file(self._config.path)
        except ConfigError as error:
            found = error
        self._reloading = asyncio.create_task(self._take(found))

    async def _take(self, found: Settings | ConfigError) -> None:
        try:
            if isinstance(found, ConfigError):
                raise found
            if found.server.host != self._config.started.server.host:
                refuse_exposed(self._front.access, self._config.path, found.server.host)
            await self.apply(self._config.settings, found)
        except ConfigError as error:
            self._config.refuse(error)
            log.error("%s; what was in force stays", error)
        except Exception:
            log.exception("the new configuration could not be applied")
