"""Look for what is wrong with this machine, the home and the daemon; each line that is not ok says
what to do. Exit status 1 when there is a fault.

It changes nothing. Where no daemon runs, or none of its models is loaded, one with the demo model
is started for a moment, on a home of its own."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...config.paths import Home
from .arguments import add_json
from .client import Daemon, NotRunning
from .failure import Failure
from .terminal import harmless, has_colours

if TYPE_CHECKING:
    from ..doctor.finding import Finding

MLX_S = 120.0  # for the first import of MLX
COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "fault": "\x1b[31m"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.add_argument("--quick", action="store_true", help="leave out MLX and the one token")


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    found: list[Finding] = []
    for finding in findings(home, quick=args.quick):
        found.append(finding)
        if not args.json:
            print(_for_people(finding), flush=True)
    well = not any(finding.state == "fault" for finding in found)
    if args.json:
        checks = [finding._asdict() for finding in found]
        print(json.dumps({"ok": well, "checks": checks}, indent=2))
    return 0 if well else 1


def findings(home: Home, *, quick: bool = False) -> Iterator[Finding]:
    """One after the other, the quick ones first."""
    import psutil

    from ..doctor import files, machine, running
    from ..hub.places import hub_cache
    from ..reconcile import cache_plan, memory_limit_bytes

    yield machine.python(sys.version_info[:3], sys.platform, platform.machine())
    finding, settings = files.config(home)
    yield finding
    directory = cache_plan(settings, home).directory
    for folder in dict.fromkeys((home.root, directory)):
        yield machine.disk(folder, _free(folder))
    if home.root.exists():
        yield from files.folders(files.folders_of(home, settings), may_lack=[hub_cache()])
    yield files.database(home.database)
    yield files.cold_tier(directory)
    daemon, status = _daemon(home)
    server = settings.server
    yield running.port(server.host, server.port, None if daemon is None else daemon.url)
    yield running.access(server.host, home)
    yield running.service(_service(), home.root)
    said: dict[str, Any] | None = None
    if not quick:
        about = [sys.executable, "-m", "fastmlx.daemon.engine.about"]
        said, problem = running.said_by(about, MLX_S)
        yield machine.mlx(said, problem, sys.platform)
    memory = psutil.virtual_memory()
    device = said["device"] if said is not None else {}
    limit = memory_limit_bytes(settings)
    yield machine.memory(memory.total, memory.available, limit, device, _wired_mb())
    if not quick:
        post = None if daemon is None else daemon.post
        yield running.generation(post, status.get("models", []), _ask_at)


def _daemon(home: Home) -> tuple[Daemon | None, dict[str, Any]]:
    try:
        daemon = Daemon.find(home, wake=False)
        return daemon, daemon.get("/api/status")
    except Failure:
        return None, {}


def _ask_at(home: Home) -> Any:
    from ..doctor.running import request

    try:
        daemon = Daemon.find(home)
    except NotRunning:
        return None
    return daemon.post("/v1/completions", request("demo"))


def _service() -> Any:
    from ...launchd.service import Unsupported, for_this_machine

    try:
        return for_this_machine().state()
    except Unsupported:
        return None


def _free(folder: Any) -> int | None:
    import shutil

    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def _wired_mb() -> int | None:
    """macOS's limit of what the GPU may wire; None where there is no such thing."""
    from ...launchd.runner import run as ask

    if sys.platform != "darwin":
        return None
    said = ask(["/usr/sbin/sysctl", "-n", "iogpu.wired_limit_mb"])
    return int(said.output) if said.status == 0 and said.output.isdigit() else None


def _for_people(finding: Finding) -> str:
    mark = f"{finding.state:8}"
    if has_colours(sys.stdout):
        mark = f"{COLOURS[finding.state]}{mark}\x1b[0m"
    text = f"{mark} {finding.name}: {harmless(finding.text)}"
    return f"{text}\n         → {harmless(finding.remedy)}" if finding.remedy else text
