"""What every kind of work needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .running import RunningRequests
from .texts import Texts

if TYPE_CHECKING:
    from ...config.state import ConfigState
    from ..protocol.requests import RequestMeta
    from ..store.rows import UsageRow
    from ..supervisor.supervisor import Supervisor


def no_bounds(_: RequestMeta) -> None:
    """Lets every request begin."""


class Shared(NamedTuple):
    """What all tasks of one front have in common."""

    config: ConfigState
    supervisor: Supervisor
    texts: Texts
    record: Callable[[UsageRow], None]  # gets a row for each request, however it ended
    begin: Callable[[RequestMeta], None] = no_bounds  # FastMLXError: this one may not begin
    running: RunningRequests | None = None  # all that have begun and not ended; None: nobody asks


class Task:
    """Carries out requests of one kind."""

    def __init__(self, shared: Shared) -> None:
        self._config = shared.config
        self._supervisor = shared.supervisor
        self._texts = shared.texts
        self._record = shared.record
        self._begin = shared.begin
        self._running = shared.running or RunningRequests()
