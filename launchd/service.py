"""The one seam between fastmlx and whoever keeps it alive: launchd on macOS, systemd on Linux."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .program import Program
from .runner import Runner, run


@dataclass(frozen=True)
class ServiceState:
    """What the service manager knows about the daemon."""

    manager: str  # "launchd" or "systemd"
    installed: bool  # its file lies where the manager looks at login
    running: bool
    pid: int | None  # of the daemon
    home: Path | None  # FASTMLX_HOME of the installed service
    detail: str  # one plain phrase: "running", "stopped, last exit status 1"
    on_demand: bool = False  # it starts when somebody connects

    def as_dict(self) -> dict[str, Any]:
        """For `status --json`."""
        return {
            "manager": self.manager,
            "installed": self.installed,
            "running": self.running,
            "pid": self.pid,
            "home": None if self.home is None else str(self.home),
            "detail": self.detail,
            "on_demand": self.on_demand,
        }


class Service(Protocol):
    """The user's one fastmlx service. Every verb may be repeated; each raises CommandFailed with
    the output of the service manager's command that failed."""

    @property
    def file(self) -> Path:
        """Where the service is written down."""
        ...

    def install(self, program: Program) -> bool:
        """Write the service down and start it, now and at every login.

        | before                        | what happens                          | returns |
        |-------------------------------|---------------------------------------|---------|
        | not installed                 | written, started                      | True    |
        | installed, same, running      | nothing                               | False   |
        | installed, same, not running  | started                               | True    |
        | installed, another program    | old one stopped; written, started     | True    |

        On demand "started" means that the manager listens.
        """
        ...

    def uninstall(self) -> bool:
        """Stop it, wait until it is gone, remove its file; False when nothing was there."""
        ...

    def restart(self) -> None:
        """Stop it cleanly (running requests end, up to the drain time) and start it again.

        Raises NotInstalled.
        """
        ...

    def state(self) -> ServiceState:
        """Asks the manager. Never raises: what cannot be asked is said in `detail`."""
        ...


class NotInstalled(Exception):
    """There is no service to restart."""

    def __init__(self) -> None:
        super().__init__("fastmlx is not installed as a service; `fastmlx install` does that")


class Unsupported(Exception):
    """This platform has neither launchd nor systemd."""


def for_this_machine(
    *,
    platform: str = sys.platform,
    environ: Mapping[str, str] = os.environ,
    user_home: Path | None = None,
    runner: Runner = run,
) -> Service:
    """The service of the user who asks; everything it depends on can be handed in."""
    folder = Path.home() if user_home is None else user_home
    if platform == "darwin":
        from .agent import LaunchAgent

        return LaunchAgent(folder / "Library" / "LaunchAgents", os.getuid(), runner)
    if platform == "linux":
        from .systemd import UserUnit

        configured = environ.get("XDG_CONFIG_HOME", "")
        base = Path(configured) if configured.startswith("/") else folder / ".config"
        return UserUnit(base / "systemd" / "user", runner)
    raise Unsupported(f"fastmlx knows no service manager on {platform}; run `fastmlx serve`")
