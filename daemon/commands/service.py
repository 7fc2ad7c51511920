"""What install, uninstall and restart share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ...config.paths import Home
from ...launchd.runner import CommandFailed
from ...launchd.service import NotInstalled, Service, Unsupported, for_this_machine
from .client import Daemon, NotRunning
from .failure import Failure

POLL_S = 0.1
# Python's and the libraries' first start on a cold disk takes seconds.
START_S = 60.0


@contextlib.contextmanager
def service() -> Iterator[Service]:
    """The user's service; its errors become Failures."""
    try:
        yield for_this_machine()
    except (CommandFailed, NotInstalled, Unsupported, ValueError) as error:
        raise Failure(str(error)) from None


def wait_for_new(home: Home, service: Service, old_pid: int | None) -> Daemon:
    """The service's daemon on `home`, once it answers and is another process than `old_pid`.

    Raises Failure when none does within START_S.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(NotRunning):
            daemon = Daemon.find(home)
            if daemon.pid != old_pid:
                return daemon
        time.sleep(POLL_S)
    state = service.state()
    raise Failure(
        f"the service was started but does not answer after {START_S:.0f} s "
        f"({state.manager}: {state.detail}); {home.service_log} may tell why"
    )


def running_pid(home: Home) -> int | None:
    """The pid of the daemon that answers on `home`."""
    try:
        return Daemon.find(home).pid
    except NotRunning:
        return None
