"""Show the daemon, the models it serves and the service that keeps it alive.

Exit status 1 when no daemon runs; --json then still prints what is known."""

from __future__ import annotations

import argparse
import json
import math
from importlib.metadata import version
from typing import Any

from ...config.errors import ConfigError
from ...config.paths import Home
from .arguments import add_json
from .client import Daemon, NotRunning
from .terminal import duration, harmless, size, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    try:
        daemon = Daemon.find(home, wake=False)
        status = {"running": True, **daemon.get("/api/status")}
    except NotRunning:
        status = _without_daemon(home)
    status["home"] = str(home.root)
    status["service"] = service_state()
    if args.json:
        print(json.dumps(status, indent=2))
    else:
        print(harmless(for_people(status)))
    return 0 if status["running"] else 1


def for_people(status: dict[str, Any]) -> str:
    """The same as text: the daemon, its configuration, the service, the models."""
    lines = [f"fastmlx {status['version']}"]
    if status["running"]:
        up = duration(status.get("uptime_s"))
        lines.append(f"daemon   runs at {status['url']} (pid {status['pid']}, up {up})")
    else:
        on_demand = status["service"]["on_demand"]
        starts = "the next connection" if on_demand else "`fastmlx serve`"
        lines.append(f"daemon   does not run; {starts} starts it")
    config = status["config"]
    verdict = "good" if config["ok"] else f"WRONG: {config['error']['text']}"
    lines.append(f"config   {config['path']}: {verdict}")
    if waiting := config.get("needs_restart"):
        lines.append(f"         takes effect at a restart: {', '.join(waiting)}")
    if (mcp := status.get("mcp")) and (mcp["servers"] or not mcp["ok"]):
        lines.append(f"mcp      {_mcp_for_people(mcp)}")
    lines.append(f"service  {_service_for_people(status)}")
    if status["models"]:
        lines += ["", _models_for_people(status["models"])]
    return "\n".join(lines)


def _mcp_for_people(mcp: dict[str, Any]) -> str:
    if not mcp["ok"]:
        return f"WRONG: {mcp['error']['text']}"
    ready = [server for server in mcp["servers"] if server["state"] == "ready"]
    tools = sum(server["tools"] for server in ready)
    said = f"{len(ready)} of {len(mcp['servers'])} servers connected, {tools} tools"
    problems = [f"{each['name']}: {each['error']}" for each in mcp["servers"] if each["error"]]
    return "\n         ".join([said, *problems])


def service_state() -> dict[str, Any]:
    """ServiceState as plain values; `manager` is null where there is none."""
    from ...launchd.service import Unsupported, for_this_machine

    try:
        return for_this_machine().state().as_dict()
    except Unsupported as unsupported:
        return {
            "manager": None,
            "installed": False,
            "running": False,
            "pid": None,
            "home": None,
            "detail": str(unsupported),
            "on_demand": False,
        }


def _service_for_people(status: dict[str, Any]) -> str:
    service = status["service"]
    if not service["installed"]:
        return "not installed (`fastmlx install` starts the daemon at every login)"
    other = service["home"] not in (None, status["home"])
    return f"{service['manager']}: {service['detail']}" + (
        f", for another home: {service['home']}" if other else ""
    )


def _models_for_people(models: list[dict[str, Any]]) -> str:
    rows = [("MODEL", "STATE", "MEMORY", "RUNNING", "WAITING", "IDLE", "UNLOADED AFTER")]
    notes = []
    for model in models:
        state = model["state"]
        if loading := model.get("loading"):
            state += f" ({loading['stage']} {loading['fraction']:.0%})"
        rows.append(
            (
                model["name"],
                state,
                size(model["memory_bytes"]) if model["memory_bytes"] else "-",
                str(model["requests_running"]),
                str(model["requests_waiting"]),
                duration(model["idle_s"]),
                # JSON has no infinity: null stands for it.
                duration(math.inf if model["idle_timeout_s"] is None else model["idle_timeout_s"]),
            )
        )
        if model["error"]:
            notes.append(f"{model['name']}: {model['error']}")
    return "\n".join([table(rows), *notes])


def _without_daemon(home: Home) -> dict[str, Any]:
    """What can be said without a daemon, in the same shape."""
    from ...config.load import load_file

    error: ConfigError | None = None
    # Before the first start there is no file, and nothing wrong with that.
    if home.config.exists():
        try:
            load_file(home.config)
        except ConfigError as found:
            error = found
    return {
        "running": False,
        "pid": None,
        "version": version("fastmlx"),
        "url": None,
        "config": {
            "path": str(home.config),
            "ok": error is None,
            "error": None if error is None else error.as_dict(),
        },
        "models": [],
    }
