"""The LaunchAgent's property list. Keys: `man 5 launchd.plist`."""

from __future__ import annotations

from typing import Any

from . import activation
from .program import OPEN_FILES, Address, Program

LABEL = "ai.fastmlx.daemon"
# From one start to the next, at least: launchd's own default, long enough not to heat a laptop.
THROTTLE_S = 10


def agent(program: Program) -> dict[str, Any]:
    """What launchd is told, for `plistlib`.

    It starts at login and after a crash, not after a clean stop (exit status 0): `uninstall` and a
    stop by hand mean it. On demand launchd listens and starts it at a connection; it has no
    KeepAlive then, which would start it at once, and a crash costs one connection. `Interactive`
    keeps macOS from throttling CPU and disk of a process without a window.
    """
    return _when(program.on_demand) | {
        "Label": LABEL,
        "ProgramArguments": list(program.arguments),
        "EnvironmentVariables": dict(program.environment),
        "WorkingDirectory": str(program.home),
        "ThrottleInterval": THROTTLE_S,
        "ProcessType": "Interactive",
        # 0 is launchd's word for "wait for ever".
        "ExitTimeOut": program.stop_timeout_s or 0,
        "SoftResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "HardResourceLimits": {"NumberOfFiles": OPEN_FILES},
        "StandardOutPath": str(program.output),
        "StandardErrorPath": str(program.output),
    }


def _when(on_demand: Address | None) -> dict[str, Any]:
    if on_demand is None:
        return {"RunAtLoad": True, "KeepAlive": {"SuccessfulExit": False}}
    socket = {
        "SockNodeName": on_demand.node,
        "SockServiceName": str(on_demand.port),
        "SockType": "stream",
        "SockFamily": "IPv6" if on_demand.is_ipv6 else "IPv4",
    }
    return {"RunAtLoad": False, "Sockets": {activation.NAME: socket}}
