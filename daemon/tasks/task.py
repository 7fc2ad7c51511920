"""What every kind of work needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .texts import Texts

if TYPE_CHECKING:
    from ...config.state import ConfigState
    from ..store.rows import UsageRow
    from ..supervisor.supervisor import Supervisor

LONG_TEXT = 20_000  # characters; about 10 ms of templating and tokenising: work for a thread


class Task:
    """Carries out requests. `record` gets a usage row for each, however it ended."""

    def __init__(
        self,
        config: ConfigState,
        supervisor: Supervisor,
        texts: Texts,
        record: Callable[[UsageRow], None],
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._texts = texts
        self._record = record
