"""Unload a model; requests that it runs are finished first. The next request loads it again."""

from __future__ import annotations

import argparse

from .arguments import add_model
from .client import daemon_of, model_path
from .terminal import harmless


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    model = daemon_of(args).post(model_path(args.name, "unload"))
    print(f"{harmless(model['name'])} is {model['state']}")
    return 0
