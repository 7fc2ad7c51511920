"""What is in force, and what is wrong with the file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from .diff import diff
from .errors import ConfigError
from .settings import Settings


@dataclass
class ConfigState:
    """The configuration of a running daemon. Changed by the front's one configuration task only.

    A broken edit leaves `settings` as they are and sets `error`; the next good edit clears it.
    """

    path: Path
    settings: Settings  # in force; keys that need a restart hold the file's value, see `started`
    error: ConfigError | None = None
    needs_restart: tuple[str, ...] = ()  # dotted keys whose new value waits for a restart
    loaded_at: float = field(default_factory=time.time)  # Unix time of the last good load
    started: Settings = field(default=None, kw_only=True)  # type: ignore[assignment]  # at start

    def __post_init__(self) -> None:
        if self.started is None:
            self.started = self.settings

    def served_as(self, name: str) -> str:
        """What books call the model that a client names: as it is declared, or MODEL:ADAPTER; ""
        for no model of ours."""
        found = self.settings.find(name)
        if found is None:
            return ""
        return name if found.spec.adapter_asked(found.name, name) is not None else found.name

    def accept(self, new: Settings) -> None:
        """`new` is in force now.

        What needs a restart is measured against the settings of the start, not against the last
        edit: a port that was changed and changed back needs none.
        """
        self.settings = new
        self.error = None
        self.needs_restart = diff(self.started, new).needs_restart
        self.loaded_at = time.time()

    def refuse(self, error: ConfigError) -> None:
        """The file is broken; what was in force stays."""
        self.error = error
