"""Running the service manager's own commands, behind one seam.

`launchctl` and `systemctl` exist on one platform each, so everything here takes a `Runner`; tests
hand in one that records the calls and answers as the real program does.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Completed(NamedTuple):
    status: int  # exit status; negative: ended by that signal; 127: there is no such program
    output: str  # stdout and stderr together, stripped


class Runner(Protocol):
    def __call__(self, command: Sequence[str]) -> Completed:
        """Run `command` to its end, without a shell and without input."""
        ...


class CommandFailed(Exception):
    """A command of the service manager failed; `str()` is the command, its status and output."""

    def __init__(self, command: Sequence[str], completed: Completed, hint: str = "") -> None:
        self.command = tuple(command)
        self.completed = completed
        said = completed.output or "it printed nothing"
        text = f"`{shlex.join(command)}` failed with status {completed.status}: {said}"
        super().__init__(f"{text}\n{hint}" if hint else text)


def run(command: Sequence[str]) -> Completed:
    """The real runner. There is no time limit: stopping a service may take its whole drain time,
    and the service manager ends it after that."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        return Completed(127, f"{command[0]} is not on this machine")
    except OSError as error:
        return Completed(126, str(error))
    return Completed(done.returncode, done.stdout.strip())


def checked(runner: Runner, command: Sequence[str], hint: str = "") -> str:
    """Run `command` and return its output; CommandFailed unless it exits with 0."""
    completed = runner(command)
    if completed.status != 0:
        raise CommandFailed(command, completed, hint)
    return completed.output
