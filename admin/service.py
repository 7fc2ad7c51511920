"""The service that keeps the daemon alive, as a page sees it, and what ends this very process: that
is done a moment after the browser has its answer, by a program of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..config.paths import Home
from ..launchd.service import ServiceState, Unsupported, for_this_machine

ANSWER_FIRST_S = 0.5
MAX_TEXT = 20_000  # characters of the service's file


class Seen(NamedTuple):
    state: ServiceState | None  # None: this machine has no service manager
    problem: str | None  # why there is none
    file: Path | None
    text: str | None  # what the file says; None: there is no file
    is_ours: bool  # the manager keeps this process
    other_home: Path | None  # the service is of another home

    @property
    def answers(self) -> bool:
        """Whether the service manager can be asked, and so told."""
        return self.state is not None and not self.state.detail.startswith("unknown")


def look(home: Home) -> Seen:
    """Asks the service manager. Blocks."""
    try:
        service = for_this_machine()
    except Unsupported as error:
        return Seen(None, str(error), None, None, False, None)
    state = service.state()
    try:
        text = service.file.read_text("utf-8", "replace")[:MAX_TEXT]
    except OSError:
        text = None
    other = state.home if state.home not in (None, home.root) else None
    return Seen(state, None, service.file, text, state.pid == os.getpid(), other)


def restart_soon() -> None:
    """The daemon drains and starts again in the same process, with the same socket."""
    asyncio.get_running_loop().call_later(ANSWER_FIRST_S, os.kill, os.getpid(), signal.SIGUSR2)


def verb_soon(home: Home, seen: Seen, *words: str) -> None:
    """Runs a verb of `fastmlx` that ends this process."""
    command = [sys.executable, "-m", "fastmlx.daemon", *words, "--home", str(home.root)]
    if seen.is_ours and seen.state is not None and seen.state.manager == "systemd":
        # systemd ends all processes of a unit; the verb must not be one of them.
        command = ["systemd-run", "--user", "--collect", "--quiet", "--", *command]
    asyncio.get_running_loop().call_later(ANSWER_FIRST_S, _run, home, command)


def _run(home: Home, command: Sequence[str]) -> None:
    with (home.logs / "service.log").open("ab") as output:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
