"""Restart the service: running requests end first, up to server.drain_timeout. Returns when the
new daemon answers."""

from __future__ import annotations

import argparse

from ...config.paths import Home
from .failure import Failure
from .service import running_pid, service, wait_for_new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but --home."""


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    with service() as installed:
        serves = installed.state().home
        if args.home is not None and serves not in (None, home.root):
            raise Failure(f"the service runs on {serves}, not on {home.root}")
        if serves is not None:
            home = Home(serves)
        old = running_pid(home)
        installed.restart()
        daemon = wait_for_new(home, installed, old)
    print(f"runs at {daemon.url} (pid {daemon.pid})")
    return 0
