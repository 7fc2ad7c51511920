"""What every kind of work needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .running import RunningRequests
from .texts import Texts

if TYPE_CHECKING:
    from ...config.state import ConfigState
    from ..protocol.requests import RequestMeta
    from ..store.rows import UsageRow
    from ..supervisor.supervisor import Supervisor

LONG_TEXT = 20_000  # characters; about 10 ms of templating and tokenising: work for a thread


def no_bounds(_: RequestMeta) -> None:
    """Lets every request begin."""


class Task:
    """Carries out requests. `record` gets a usage row for each, however it ended; until then it is
    among those that are `running`. `begin` is asked before the work, and raises FastMLXError for a
    request that may not begin."""

    def __init__(
        self,
        config: ConfigState,
        supervisor: Supervisor,
        texts: Texts,
        record: Callable[[UsageRow], None],
        begin: Callable[[RequestMeta], None] = no_bounds,
        running: RunningRequests | None = None,
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._texts = texts
        self._record = record
        self._begin = begin
        self._running = running or RunningRequests()
