"""The daemon as a LaunchAgent, driven through `launchctl`.

launchctl's answers that are no failure here (macOS 11 to 15):

    print       113   could not find the service: it is not loaded
    bootout       3   no such process: it was not loaded
                 36   operation now in progress: it is still ending
    bootstrap    37   operation already in progress: an earlier bootout still ends it
                  5   input/output error: it is already loaded (or disabled, hence `enable` first)
"""

from __future__ import annotations

import plistlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from . import atomic
from .plist import LABEL, agent
from .program import Program
from .runner import CommandFailed, Runner, checked
from .service import NotInstalled, ServiceState

NOT_LOADED = 113
NO_SUCH_PROCESS = 3
IN_PROGRESS = 36
STILL_ENDING = 37
NO_SUCH_DOMAIN = 125

POLL_S = 0.2
BOOTSTRAP_TRIES = 50
# launchd itself kills a booted-out daemon after ExitTimeOut; this only ends the wait for one that
# may drain for ever.
LONGEST_WAIT_S = 3600.0

GUI_HINT = "launchd starts agents for a user who is logged in at the screen; log in there first."


class LaunchAgent:
    """`Service` on macOS: one property list in ~/Library/LaunchAgents, domain gui/UID."""

    def __init__(
        self,
        folder: Path,
        uid: int,
        runner: Runner,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.file = folder / f"{LABEL}.plist"
        self._domain = f"gui/{uid}"
        self._target = f"gui/{uid}/{LABEL}"
        self._runner = runner
        self._sleep = sleep

    def install(self, program: Program) -> bool:
        program.output.parent.mkdir(parents=True, exist_ok=True)
        content = plistlib.dumps(agent(program))
        loaded = self._print()
        if loaded is not None and atomic.holds(self.file, content):
            if _pid(loaded) is not None or program.on_demand is not None:
                return False
            checked(self._runner, ["launchctl", "kickstart", self._target])
            return True
        if loaded is not None:
            self._bootout()
        # Only now: a bootout that failed leaves the old file, so that the next try replaces it too.
        atomic.write(self.file, content)
        self._bootstrap()
        return True

    def uninstall(self) -> bool:
        was_loaded = self._print() is not None
        if was_loaded:
            self._bootout()
        was_written = self.file.exists()
        self.file.unlink(missing_ok=True)
        return was_loaded or was_written

    def restart(self) -> None:
        if not self.file.exists():
            raise NotInstalled
        loaded = self._print()
        if loaded is None:
            self._bootstrap()
            return
        kickstart = ["launchctl", "kickstart"]
        pid = _pid(loaded)
        if pid is not None:
            # `kickstart -k` alone need not let running requests end; it is for a daemon that hangs.
            checked(self._runner, ["launchctl", "kill", "SIGTERM", self._target])
            stop_s = self._read().get("ExitTimeOut") or LONGEST_WAIT_S
            if not self._wait_until(lambda: _pid(self._print() or "") != pid, stop_s):
                kickstart.append("-k")
        checked(self._runner, [*kickstart, self._target])

    def state(self) -> ServiceState:
        printed = self._runner(["launchctl", "print", self._target])
        content = self._read()
        home = content.get("EnvironmentVariables", {}).get("FASTMLX_HOME")
        pid = _pid(printed.output) if printed.status == 0 else None
        if printed.status == 0:
            stopped = "waits for a connection" if "Sockets" in content else "stopped"
            detail = "running" if pid is not None else stopped + _last_exit(printed.output)
        elif printed.status in (NOT_LOADED, NO_SUCH_DOMAIN):
            detail = "not loaded" if self.file.exists() else "not installed"
        else:
            detail = f"unknown: {printed.output}"
        return ServiceState(
            manager="launchd",
            installed=self.file.exists(),
            running=pid is not None,
            pid=pid,
            home=None if home is None else Path(home),
            detail=detail,
            on_demand="Sockets" in content,
        )

    def _print(self) -> str | None:
        """What launchd says about the service; None when it is not loaded."""
        command = ["launchctl", "print", self._target]
        completed = self._runner(command)
        if completed.status == NOT_LOADED:
            return None
        if completed.status != 0:
            raise CommandFailed(
                command, completed, GUI_HINT if completed.status == NO_SUCH_DOMAIN else ""
            )
        return completed.output

    def _bootout(self) -> None:
        """Unload and wait until the process is gone: launchctl may return earlier."""
        command = ["launchctl", "bootout", self._target]
        completed = self._runner(command)
        if completed.status not in (0, NO_SUCH_PROCESS, IN_PROGRESS, NOT_LOADED):
            raise CommandFailed(command, completed)
        if not self._wait_until(lambda: self._print() is None, LONGEST_WAIT_S):
            raise CommandFailed(command, completed, "The daemon is still ending; try again later.")

    def _bootstrap(self) -> None:
        checked(self._runner, ["launchctl", "enable", self._target])
        command = ["launchctl", "bootstrap", self._domain, str(self.file)]
        completed = self._runner(command)
        for _ in range(BOOTSTRAP_TRIES):
            if completed.status != STILL_ENDING:
                break
            self._sleep(POLL_S)
            completed = self._runner(command)
        # When it is loaded all the same another installer was faster.
        if completed.status == 0 or self._print() is not None:
            return
        raise CommandFailed(
            command, completed, GUI_HINT if completed.status == NO_SUCH_DOMAIN else ""
        )

    def _wait_until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """False when it is not done after `limit_s`."""
        waited_s = 0.0
        while not done():
            if waited_s >= limit_s:
                return False
            self._sleep(POLL_S)
            waited_s += POLL_S
        return True

    def _read(self) -> dict:
        try:
            return plistlib.loads(self.file.read_bytes())
        except (OSError, plistlib.InvalidFileException, ValueError):
            return {}


def _pid(printed: str) -> int | None:
    """The process in `launchctl print`'s text, `\\tpid = 123`; deeper lines belong to others."""
    found = re.search(r"^\t?pid = (\d+)$", printed, re.MULTILINE)
    return int(found[1]) if found else None


def _last_exit(printed: str) -> str:
    found = re.search(r"^\t?last exit code = (.+)$", printed, re.MULTILINE)
    return f", last exit status {found[1]}" if found else ""
