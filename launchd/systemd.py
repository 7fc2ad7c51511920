"""The daemon as a systemd user unit, driven through `systemctl --user`: the LaunchAgent's twin on
Linux. Keys: systemd.service(5), systemd.exec(5); quoting: systemd.syntax(7), "Quoting" and
"Specifiers".
"""

from __future__ import annotations

import configparser
from pathlib import Path

from . import atomic
from .program import OPEN_FILES, Address, Program
from .runner import CommandFailed, Runner
from .service import NotInstalled, ServiceState

UNIT = "fastmlx.service"
SOCKET = "fastmlx.socket"
SYSTEMCTL = ("systemctl", "--user", "--no-pager")
# From a death to the next start. (launchd's ThrottleInterval is from start to start.)
RESTART_S = 3
PROPERTIES = "LoadState,ActiveState,SubState,MainPID,Result,ExecMainStatus"
# When no user instance of systemd runs: in a container, or in a login without a session.
BUS_HINT = (
    "systemd runs no session for this user here. On a machine without a desktop login, "
    "`loginctl enable-linger` keeps one."
)


def quoted(text: str, *, variables: bool = False) -> str:
    """`text` as one word of a unit file.

    `%` would start a specifier; where the line expands `$VARIABLES` (arguments of ExecStart, not
    its program) `$` is doubled too.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if variables:
        escaped = escaped.replace("$", "$$")
    return f'"{escaped}"'


def socket_unit(address: Address) -> str:
    """The unit file of the socket on which systemd waits for the daemon."""
    host = f"[{address.node}]" if address.is_ipv6 else address.node
    return f"""\
# Written by `fastmlx install --on-demand`, removed by `fastmlx uninstall`.
[Unit]
Description=fastmlx's port

[Socket]
ListenStream={host}:{address.port}
Backlog=1024
NoDelay=true

[Install]
WantedBy=sockets.target
"""


def unit(program: Program) -> str:
    """The unit file.

    KillMode=mixed: only the front gets SIGTERM, so that it can drain what its engines compute;
    what is left when it ended is killed.
    """
    arguments = [quoted(program.arguments[0])]
    arguments += [quoted(argument, variables=True) for argument in program.arguments[1:]]
    environment = "\n".join(
        f"Environment={quoted(f'{name}={value}')}" for name, value in program.environment.items()
    )
    on_demand = program.on_demand is not None
    needs = f"\nRequires={SOCKET}\nAfter={SOCKET}" if on_demand else ""
    login = "" if on_demand else "[Install]\nWantedBy=default.target\n\n"
    stop = "infinity" if program.stop_timeout_s is None else str(program.stop_timeout_s)
    return f"""\
# Written by `fastmlx install`, removed by `fastmlx uninstall`.
[Unit]
Description=fastmlx, a local LLM server
StartLimitIntervalSec=0{needs}

[Service]
Type=exec
ExecStart={" ".join(arguments)}
{environment}
WorkingDirectory={_path(program.home)}
StandardOutput=append:{_path(program.output)}
StandardError=append:{_path(program.output)}
Restart=on-failure
RestartSec={RESTART_S}
TimeoutStopSec={stop}
KillMode=mixed
LimitNOFILE={OPEN_FILES}

{login}[X-FastMLX]
Home={program.home}
"""


def _path(path: Path) -> str:
    """A path that takes the rest of its line: no quotes, but specifiers."""
    return str(path).replace("%", "%%")


class UserUnit:
    """`Service` on Linux: one unit in ~/.config/systemd/user, and one for the socket on demand."""

    def __init__(self, folder: Path, runner: Runner) -> None:
        self.file = folder / UNIT
        self._socket = folder / SOCKET
        self._runner = runner

    def install(self, program: Program) -> bool:
        program.output.parent.mkdir(parents=True, exist_ok=True)
        changed = atomic.write(self.file, unit(program).encode())
        if program.on_demand is not None:
            return self._listen(program.on_demand, changed)
        changed = self._forget_socket() or changed
        self._systemctl("daemon-reload")
        started = changed or self._show().get("ActiveState") != "active"
        if started:
            self._systemctl("restart", UNIT)
        self._systemctl("enable", UNIT)
        return started

    def _listen(self, address: Address, changed: bool) -> bool:
        changed = atomic.write(self._socket, socket_unit(address).encode()) or changed
        self._systemctl("daemon-reload")
        started = changed or self._show(SOCKET).get("ActiveState") != "active"
        if started:
            self._systemctl("stop", UNIT)  # it holds the port, or the socket of before
            self._systemctl("restart", SOCKET)
        self._systemctl("disable", UNIT)
        self._systemctl("enable", SOCKET)
        return started

    def _forget_socket(self) -> bool:
        """False when there was none."""
        if not self._socket.exists():
            return False
        self._systemctl("stop", SOCKET)
        self._systemctl("disable", SOCKET)
        self._socket.unlink()
        return True

    def uninstall(self) -> bool:
        had_socket = self._forget_socket()
        # A unit that systemd cannot read can only be stopped while it still runs.
        stopped = self._show().get("ActiveState", "inactive") not in ("inactive", "failed")
        if stopped:
            self._systemctl("stop", UNIT)
        written = self.file.exists()
        if written:
            self._systemctl("disable", UNIT)
        self.file.unlink(missing_ok=True)
        if written:
            self._systemctl("daemon-reload")
            # Without this a unit that crashed stays in systemd's lists as "failed".
            self._runner([*SYSTEMCTL, "reset-failed", UNIT])
        return stopped or written or had_socket

    def restart(self) -> None:
        if not self.file.exists():
            raise NotInstalled
        self._systemctl("restart", UNIT)

    def state(self) -> ServiceState:
        installed = self.file.exists()
        try:
            shown = self._show()
        except CommandFailed as failed:
            return ServiceState(
                "systemd",
                installed,
                False,
                None,
                self._home(),
                f"unknown: {failed.completed.output}",
            )
        running = shown.get("ActiveState") in ("active", "deactivating", "reloading")
        pid = int(shown.get("MainPID", "0")) or None
        if not installed and pid is None:
            detail = "not installed"
        elif running and shown["ActiveState"] == "active":
            detail = "running"
        else:
            detail = f"{shown.get('ActiveState')} ({shown.get('SubState')})"
            if self._socket.exists() and self._show(SOCKET).get("ActiveState") == "active":
                detail = "waits for a connection"
            if shown.get("Result") not in ("success", None):
                detail += f", {shown['Result']}, last exit status {shown.get('ExecMainStatus')}"
        return ServiceState(
            "systemd", installed, running, pid, self._home(), detail, self._socket.exists()
        )

    def _systemctl(self, *words: str) -> str:
        command = [*SYSTEMCTL, *words]
        completed = self._runner(command)
        if completed.status != 0:
            raise CommandFailed(command, completed, _hint(completed.output))
        return completed.output

    def _show(self, unit: str = UNIT) -> dict[str, str]:
        """The unit's properties as systemd has them; an unknown unit has LoadState=not-found."""
        printed = self._systemctl("show", unit, f"--property={PROPERTIES}")
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    def _home(self) -> Path | None:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(self.file.read_text())
            return Path(parser["X-FastMLX"]["Home"])
        except (OSError, KeyError, configparser.Error, UnicodeDecodeError):
            return None


def _hint(output: str) -> str:
    return BUS_HINT if "bus" in output.lower() else ""
