"""A launchctl that is not there: it records what it is asked and answers as the real one does."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastmlx.launchd.runner import Completed

NOT_FOUND = Completed(
    113, 'Bad request.\nCould not find service "ai.fastmlx.daemon" in domain for user gui: 501'
)
PRINTED = """\
gui/501/ai.fastmlx.daemon = {{
\tactive count = {active}
\tpath = {path}
\ttype = LaunchAgent
\tstate = {state}

\tprogram = /usr/bin/python3
\tevent triggers = {{
\t\tpid = 999
\t}}
\trun interval = 10 seconds
{process}\tlast exit code = {last_exit}
}}"""


class RecordingLaunchctl:
    """One gui domain with one service, as launchd keeps it. `polls_until_gone` makes bootout and
    kill return before the process has ended, as they do on macOS."""

    def __init__(self, *, polls_until_gone: int = 0) -> None:
        self.calls: list[list[str]] = []
        self.loaded: dict[str, Any] | None = None  # the plist that launchd read
        self.path = ""
        self.pid: int | None = None
        self.last_exit = "(never exited)"
        self.disabled = False
        self.logged_in = True  # at the screen
        self.ignores_sigterm = False
        self.hidden_prints = 0  # `print` calls that do not see the loaded service yet
        self.broken: dict[str, Completed] = {}  # verb → what it answers instead
        self._polls_until_gone = polls_until_gone
        self._ending: tuple[int, bool] | None = None  # polls left, whether it unloads
        self._next_pid = 1000

    def __call__(self, command: Sequence[str]) -> Completed:
        self.calls.append(list(command))
        program, verb, *arguments = command
        assert program == "launchctl"
        if verb in self.broken:
            return self.broken[verb]
        if not self.logged_in:
            return Completed(125, "Domain does not support specified action")
        self._pass_time()
        return getattr(self, f"_{verb}")(*arguments)

    @property
    def verbs(self) -> list[str]:
        """The verbs that change something, in order."""
        return [call[1] for call in self.calls if call[1] != "print"]

    def crash_stops_for_good(self, status: int) -> None:
        self.pid = None
        self.last_exit = str(status)

    def _pass_time(self) -> None:
        if self._ending is None:
            return
        left, unloads = self._ending
        if left > 0:
            self._ending = (left - 1, unloads)
            return
        self._ending = None
        self.pid, self.last_exit = None, "0"
        if unloads:
            self.loaded = None

    def _end(self, *, unloads: bool) -> None:
        self._ending = (self._polls_until_gone, unloads)
        if self._polls_until_gone == 0:
            self._pass_time()

    def _start(self) -> None:
        self.pid, self._next_pid = self._next_pid, self._next_pid + 1

    def _print(self, target: str) -> Completed:
        if self.loaded is None or self.hidden_prints > 0:
            self.hidden_prints -= 1
            return NOT_FOUND
        running = self.pid is not None
        text = PRINTED.format(
            active=int(running),
            path=self.path,
            state="running" if running else "not running",
            process=f"\tpid = {self.pid}\n" if running else "",
            last_exit=self.last_exit,
        )
        return Completed(0, text)

    def _enable(self, target: str) -> Completed:
        self.disabled = False
        return Completed(0, "")

    def _bootstrap(self, domain: str, path: str) -> Completed:
        if self._ending is not None:
            return Completed(37, "Bootstrap failed: 37: Operation already in progress")
        if self.loaded is not None or self.disabled:
            return Completed(5, "Bootstrap failed: 5: Input/output error")
        self.loaded = plist = plistlib.loads(Path(path).read_bytes())
        self.path = path
        if plist["RunAtLoad"]:
            self._start()
        return Completed(0, "")

    def _bootout(self, target: str) -> Completed:
        if self.loaded is None:
            return Completed(3, "Boot-out failed: 3: No such process")
        self._end(unloads=True)
        if self._ending is not None:
            return Completed(36, "Boot-out failed: 36: Operation now in progress")
        return Completed(0, "")

    def _kill(self, signal: str, target: str) -> Completed:
        if self.pid is None:
            return Completed(3, "No process to signal.")
        if not self.ignores_sigterm:
            self._end(unloads=False)
        return Completed(0, "")

    def _kickstart(self, *arguments: str) -> Completed:
        if self.loaded is None:
            return NOT_FOUND
        if "-k" in arguments or self.pid is None:
            self._start()
        return Completed(0, "")
