"""Restart the daemon, however it was started: running requests end first, up to
server.drain_timeout, and the port stays open, so that new connections wait instead of being
refused. Returns when the new daemon answers.

It runs what is installed now: this is also the end of an upgrade. A daemon that does not answer is
restarted by the service manager."""

from __future__ import annotations

import argparse
import os
import signal
from typing import TYPE_CHECKING

from ...config.errors import ConfigError
from ...config.paths import Home
from .failure import Failure
from .service import running, service, wait_for_new

if TYPE_CHECKING:
    from ...config.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but --home."""


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    with service() as installed:
        old = running(home)
        if old is None:
            serves = installed.state().home
            if args.home is not None and serves not in (None, home.root):
                raise Failure(f"the service runs on {serves}, not on {home.root}")
            home = home if serves is None else Home(serves)
            old = running(home)
        drain_s = _settings(home).server.drain_timeout
        if old is None or old.pid is None:
            installed.restart()
        else:
            os.kill(old.pid, signal.SIGUSR2)
        daemon = wait_for_new(home, installed, old, drain_s=drain_s)
    print(f"runs at {daemon.url} (pid {daemon.pid})")
    return 0


def _settings(home: Home) -> Settings:
    """Raises Failure: what could not start again is not stopped."""
    from ...config.load import load_file

    try:
        return load_file(home.config)
    except ConfigError as error:
        raise Failure(f"nothing was restarted: {home.root}{os.sep}{error}") from None
