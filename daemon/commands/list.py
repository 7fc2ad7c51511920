"""List the declared models, from the running daemon or else from config.yaml."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ...config.errors import ConfigError
from ...config.paths import Home
from .client import Daemon, NotRunning
from .failure import Failure
from .terminal import harmless, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON list, for programs")


def run(args: argparse.Namespace) -> int:
    models = _models(Home.find(args.home))
    if args.json:
        print(json.dumps(models, indent=2))
    elif not models:
        print("no models are declared")
    else:
        rows = [("MODEL", "STATE", "PATH", "ALIASES")]
        rows += [
            (
                model["name"],
                model["state"] or "-",
                model["path"] or "-",
                ", ".join(model["aliases"]) or "-",
            )
            for model in models
        ]
        print(harmless(table(rows)))
    return 0


def _models(home: Home) -> list[dict[str, Any]]:
    """name, aliases, state (null without a daemon), path (null when config.yaml is broken or has
    no such entry any more)."""
    from ...config.load import load_file

    settings = problem = None
    try:
        settings = load_file(home.config)
    except ConfigError as error:
        problem = error
    try:
        running = Daemon.find(home).get("/api/status")["models"]
    except NotRunning as not_running:
        if settings is None:
            raise Failure(str(problem) if home.config.exists() else str(not_running)) from None
        return [
            {"name": name, "aliases": list(spec.aliases), "state": None, "path": spec.path}
            for name, spec in settings.models.items()
        ]
    paths = {} if settings is None else {n: spec.path for n, spec in settings.models.items()}
    return [
        {
            "name": model["name"],
            "aliases": model["aliases"],
            "state": model["state"],
            "path": paths.get(model["name"]),
        }
        for model in running
    ]
