"""Start the daemon now, at every login and after a crash: a LaunchAgent on macOS, a systemd user
unit on Linux.

There is one service a user. Installing again changes nothing unless Python, the home or the drain
time changed; then the service is replaced. PATH, HF_HOME and FASTMLX_SERVER__… are carried over."""

from __future__ import annotations

import argparse
import os

from ...config.errors import ConfigError
from ...config.paths import Home
from .failure import Failure
from .service import running_pid, service, wait_for_new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but --home."""


def run(args: argparse.Namespace) -> int:
    from ...config.load import load_file, write_default
    from ...launchd.program import Program

    home = Home.find(args.home)
    home.create()
    write_default(home.config)
    try:
        settings = load_file(home.config)
    except ConfigError as error:
        raise Failure(f"{home.config.parent}{os.sep}{error}") from None
    with service() as installed:
        state, pid = installed.state(), running_pid(home)
        if pid is not None and pid != state.pid:
            raise Failure(f"a daemon already runs on {home.root} (pid {pid}); stop it first")
        program = Program.of(home, os.environ, drain_timeout_s=settings.server.drain_timeout)
        started = installed.install(program)
        daemon = wait_for_new(home, installed, pid if started else None)
        print(f"installed: {installed.file}")
        print(f"{'runs' if started else 'runs already'} at {daemon.url} (pid {daemon.pid})")
    return 0
