"""Stop the service and remove it. Models, configuration and database stay where they are."""

from __future__ import annotations

import argparse

from .service import service


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but --home."""


def run(args: argparse.Namespace) -> int:
    with service() as installed:
        file = installed.file
        print(f"removed: {file}" if installed.uninstall() else "there was no service to remove")
    return 0
