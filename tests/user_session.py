"""A systemd user session of its own: systemd, D-Bus and /run in private namespaces, so that the
unit is installed, crashed and restarted for real while the user's own session is not touched.

Needs root, Linux, systemd and dbus-daemon; not a machine that was booted with systemd.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from fastmlx.launchd.runner import Completed, run

START_S = 30.0

# Runs as process 1 of the new namespaces. systemd believes that the machine was booted with it
# when /run/systemd/system exists, and wants a cgroup that it may divide.
SESSION = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/session
chmod 700 /run/session
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$CGROUP"
echo $$ > "/sys/fs/cgroup/$CGROUP/cgroup.procs"
dbus-daemon --session --address=unix:path=/run/session/bus --fork --nopidfile
"$SYSTEMD" --user --log-target=console &  # as process 1 it would refuse to be a user's
wait
"""
SYSTEMDS = (Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd"))


def why_not() -> str:
    """Why there can be no such session here; "" when there can."""
    if sys.platform != "linux":
        return "systemd is Linux's"
    if os.geteuid() != 0:
        return "only root can make the namespaces"
    for program in ("unshare", "nsenter", "dbus-daemon", "systemctl"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not any(path.exists() for path in SYSTEMDS):
        return "systemd is not installed"
    probe = run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/run"])
    return f"no namespaces here: {probe.output}" if probe.status else ""


class UserSession:
    """A `Runner` whose commands run inside the session. `home` is the user's home folder there."""

    def __init__(self, home: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": "/run/session",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/session/bus",
        }
        self.units = home / ".config" / "systemd" / "user"
        self._cgroup = f"fastmlx-test-{os.getpid()}"
        self._log = home / "systemd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._entered: list[str] = []
        home.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        systemd = next(path for path in SYSTEMDS if path.exists())
        unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*unshare, "bash", "-c", SESSION],
                env=self._environment | {"SYSTEMD": str(systemd), "CGROUP": self._cgroup},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while self(["systemctl", "--user", "is-system-running"]).output not in (
            "running",
            "degraded",
        ):
            assert time.monotonic() < deadline, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()  # unshare takes its child with it, and process 1 all the others
        self._process.wait(10)
        self._remove_cgroups()

    def __call__(self, command: Sequence[str]) -> Completed:
        inside = self._inside()
        if not inside:
            return Completed(1, "the session has not begun")
        return run([*inside, *(f"{k}={v}" for k, v in self._environment.items()), *command])

    def _inside(self) -> list[str]:
        """`nsenter` into the namespaces of unshare's child."""
        if not self._entered:
            assert self._process is not None
            pid = self._process.pid
            with contextlib.suppress(OSError):
                if child := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                    enter = ["nsenter", "--mount", "--pid", f"--target={child[0]}"]
                    self._entered = [*enter, "env", "-i"]
        return self._entered

    def _remove_cgroups(self) -> None:
        """The kernel's tree is one for all namespaces; find where this machine has it mounted."""
        roots = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
        folders = [root / self._cgroup for root in roots]
        deadline = time.monotonic() + START_S
        # The kernel takes a moment to bury the processes; until then the folders are busy.
        while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
            for folder in folders:
                for inner, _, _ in os.walk(folder, topdown=False):
                    with contextlib.suppress(OSError):
                        Path(inner).rmdir()
            time.sleep(0.02)
