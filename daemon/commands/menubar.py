"""Show the daemon in macOS's menu bar: its state, its models (a click loads or unloads one), tokens
a second, the dashboard, restart.

It needs macOS and the extra `fastmlx[menubar]`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ...config.paths import Home
from .client import Daemon, model_path
from .failure import Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but --home."""


def run(args: argparse.Namespace) -> int:
    try:
        import rumps  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        how = "python -m pip install 'fastmlx[menubar]'"
        raise Failure(f"the menu bar needs macOS and rumps ({error}): {how}") from None
    from ..watching.menubar import MenuBar

    home = Home.find(args.home)
    os.environ["FASTMLX_HOME"] = str(home.root)  # for the verbs that its clicks run

    def status() -> dict[str, Any] | None:
        try:
            return Daemon.find(home, wake=False).get("/api/status")
        except Failure:
            return None

    def post(model: str, verb: str) -> None:
        Daemon.find(home).post(model_path(model, verb))

    MenuBar(rumps, status, post).run()
    return 0
