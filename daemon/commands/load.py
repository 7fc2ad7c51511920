"""Load a model now, instead of at its first request; returns when it answers."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

from .arguments import add_model
from .client import Daemon, daemon_of, model_path
from .failure import Failure
from .terminal import harmless, size

POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)


def run(args: argparse.Namespace) -> int:
    model = load_with_progress(daemon_of(args), args.name)
    print(f"{harmless(model['name'])} is ready ({size(model['memory_bytes'])})")
    return 0


def load_with_progress(daemon: Daemon, name: str) -> dict[str, Any]:
    """The model's status once it is ready; on a terminal its progress is shown meanwhile.

    Raises Failure. Ctrl-C leaves the load to the daemon.
    """
    outcome: list[dict[str, Any] | Failure] = []

    def load() -> None:
        try:
            outcome.append(daemon.post(model_path(name, "load")))
        except Failure as failure:
            outcome.append(failure)

    # A daemon thread in Python's sense: it does not keep the program after Ctrl-C.
    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    shown = False
    while loading.is_alive():
        loading.join(POLL_S)
        if loading.is_alive() and sys.stderr.isatty():
            shown = _show_progress(daemon, name) or shown
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if not outcome:
        raise Failure(f"loading {name} failed; `fastmlx logs` may tell why")
    if isinstance(outcome[0], Failure):
        raise outcome[0]
    return outcome[0]


def _show_progress(daemon: Daemon, name: str) -> bool:
    for model in daemon.get("/api/status")["models"]:
        if name in (model["name"], *model["aliases"]) and (loading := model["loading"]):
            line = harmless(f"{model['name']}: {loading['stage']} {loading['fraction']:.0%}")
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            return True
    return False
