"""Start the daemon now, at every login and after a crash: a LaunchAgent on macOS, a systemd user
unit on Linux.

With --on-demand nothing runs until somebody connects to server.port; launchd or systemd listens.
With server.exit_when_idle the daemon then also ends when nobody needs it.

There is one service a user. Installing again changes nothing unless Python, the home or the drain
time changed; then the service is replaced. PATH, HF_HOME and FASTMLX_SERVER__… are carried over."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time

from ...config.errors import ConfigError
from ...config.paths import Home
from .failure import Failure
from .service import running, service, wait_for_new

END_S = 15.0  # beyond the drain time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-demand", action="store_true", help="start at the first connection, not at login"
    )
    parser.add_argument(
        "--replace", action="store_true", help="end a daemon first that was started by hand"
    )


def run(args: argparse.Namespace) -> int:
    from ...config.load import load_file, write_default
    from ...launchd.program import Address, Program
    from ..opening import say_where

    home = Home.find(args.home)
    home.create()
    write_default(home.config)
    try:
        settings = load_file(home.config)
    except ConfigError as error:
        raise Failure(f"{home.config.parent}{os.sep}{error}") from None
    with service() as installed:
        state, old = installed.state(), running(home)
        if old is not None and old.pid is not None and old.pid != state.pid:
            if not args.replace:
                raise Failure(
                    f"a daemon already runs on {home.root} (pid {old.pid}); stop it first"
                )
            _end(old.pid, settings.server.drain_timeout)
            old = None
        server = settings.server
        program = Program.of(
            home,
            os.environ,
            drain_timeout_s=server.drain_timeout,
            on_demand=Address(server.host, server.port) if args.on_demand else None,
        )
        started = installed.install(program)
        print(f"installed: {installed.file}")
        if program.on_demand is not None and (started or old is None):
            url = program.on_demand.url
            say_where(home, url)
            print(f"{state.manager} listens at {url}; the first connection starts the daemon")
            return 0
        daemon = wait_for_new(home, installed, old if started else None)
        print(f"{'runs' if started else 'runs already'} at {daemon.url} (pid {daemon.pid})")
    return 0


def _end(pid: int, drain_s: float) -> None:
    """Raises Failure when it has not ended some time after its drain time."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + drain_s + END_S
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.1)
        raise Failure(f"the daemon that runs (pid {pid}) does not end; nothing was installed")
