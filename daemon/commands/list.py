"""List the declared models, from the running daemon or else from config.yaml.

With --all also the models on this machine that could be added: those in the places that `discover:`
names."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ...config.errors import ConfigError
from ...config.paths import Home
from .arguments import add_json
from .client import Daemon, NotRunning
from .failure import Failure
from .terminal import harmless, size, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also what could be added")
    add_json(parser, "one JSON list")


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    models = _models(home)
    discovered = _discovered(home) if args.all else None
    if args.json:
        shown = models if discovered is None else {"models": models, **discovered}
        print(json.dumps(shown, indent=2))
        return 0
    if not models:
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
    if discovered is not None:
        print(harmless(_addable(discovered)))
    return 0


def _addable(discovered: dict[str, Any]) -> str:
    rows = [("COULD BE ADDED", "SIZE", "KIND", "QUANTISED", "FITS", "PATH")]
    rows += [
        (
            each["name"],
            "-" if each["weights_bytes"] is None else size(each["weights_bytes"]),
            each["kind"] or "-",
            each["quantization"] or "-",
            "-" if each["fits"] is None else "yes" if each["fits"] else "no",
            each["path"] if each["problem"] is None else f"{each['path']} ({each['problem']})",
        )
        for each in discovered["candidates"]
        if each["declared"] is None
    ]
    found = table(rows) if len(rows) > 1 else "nothing was found that could be added"
    problems = [f"{place} {why}" for place, why in discovered["problems"].items()]
    return "\n".join(["", found, *problems])


def _discovered(home: Home) -> dict[str, Any]:
    """The JSON of `GET /api/discovered`."""
    try:
        return Daemon.find(home, wake=False).get("/api/discovered")
    except NotRunning:
        pass
    import asyncio

    from ...config.load import load_file
    from ..hub.discover import as_json, survey
    from ..reconcile import memory_limit_bytes

    try:
        settings = load_file(home.config)
    except ConfigError as error:
        raise Failure(str(error)) from None
    return as_json(asyncio.run(survey(settings)), memory_limit_bytes(settings))


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
        running = Daemon.find(home, wake=False).get("/api/status")["models"]
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
