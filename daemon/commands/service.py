"""What install, uninstall and restart share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ...config.paths import Home
from ...launchd.runner import CommandFailed
from ...launchd.service import NotInstalled, Service, Unsupported, for_this_machine
from .client import START_S, Daemon, NotRunning
from .failure import Failure

POLL_S = 0.1


@contextlib.contextmanager
def service() -> Iterator[Service]:
    """The user's service; its errors become Failures."""
    try:
        yield for_this_machine()
    except (CommandFailed, NotInstalled, Unsupported, ValueError) as error:
        raise Failure(str(error)) from None


def wait_for_new(
    home: Home, service: Service, old: Daemon | None, *, drain_s: float = 0.0
) -> Daemon:
    """The daemon on `home`, once it answers and is not `old`, which may go on for `drain_s`.

    Raises Failure when none does within START_S.
    """
    deadline = time.monotonic() + START_S + drain_s
    while time.monotonic() < deadline:
        with contextlib.suppress(NotRunning):
            daemon = Daemon.find(home, wake=False)
            if old is None or daemon.started_at != old.started_at:
                return daemon
        time.sleep(POLL_S)
    state = service.state()
    raise Failure(
        f"the daemon was started but does not answer after {START_S + drain_s:.0f} s "
        f"({state.manager}: {state.detail}); {home.service_log} may tell why"
    )


def running(home: Home) -> Daemon | None:
    """The daemon that answers on `home`; one that waits for a connection stays as it is."""
    try:
        return Daemon.find(home, wake=False)
    except NotRunning:
        return None
