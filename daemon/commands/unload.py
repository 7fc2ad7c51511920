"""Unload a model; requests that it runs are finished first. The next request loads it again."""

from __future__ import annotations

import argparse

from ...config.paths import Home
from .client import Daemon, model_path
from .terminal import harmless


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a declared model, or one of its aliases")


def run(args: argparse.Namespace) -> int:
    model = Daemon.find(Home.find(args.home)).post(model_path(args.name, "unload"))
    print(f"{harmless(model['name'])} is {model['state']}")
    return 0
