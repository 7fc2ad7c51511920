"""Start a coding agent against this server, by its environment and its flags only: none of its own
configuration is read or changed.

    fastmlx launch --list
    fastmlx launch claude
    fastmlx launch codex --model qwen3-8b -- exec "what does this folder hold?"

What stands behind -- goes to the tool. A server with API keys needs one: --key, or FASTMLX_API_KEY;
`fastmlx keys create NAME` makes it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from typing import Any

from ...config.paths import Home
from ..launch.tools import TOOLS, Candidate, Here, Start, Tool, choose
from .client import Daemon
from .failure import Failure
from .terminal import table

HIDDEN = "…"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tool", metavar="TOOL", nargs="?", choices=[*TOOLS], help=", ".join(TOOLS))
    parser.add_argument("--list", action="store_true", help="show the tools")
    parser.add_argument("--model", metavar="NAME", help="a declared model, or one of its names")
    parser.add_argument("--key", help="API key, where the server wants one")
    parser.add_argument(
        "--print", action="store_true", help="show what would be started, and do not"
    )


def run(args: argparse.Namespace) -> int:
    if args.list:
        print(_listed())
        return 0
    if args.tool is None:
        raise Failure("which tool? `fastmlx launch --list` shows them")
    tool = TOOLS[args.tool]
    home = Home.find(args.home)
    daemon = Daemon.find(home)
    key = args.key or os.environ.get("FASTMLX_API_KEY") or None
    model = _model(home, daemon, args.model)
    _check(daemon, key)
    start = tool.start(Here(daemon.url, key, model.name, model.context))
    start = start._replace(arguments=(*start.arguments, *args.passed_on))
    if args.print:
        print(_shown(start, key))
        return 0
    return _execute(tool, start)


def _listed() -> str:
    rows = [("TOOL", "", "HERE", "GET IT")]
    for name, tool in TOOLS.items():
        here = shutil.which(tool.program) or "-"
        rows.append((name, tool.summary, here, tool.install))
    return table(rows)


def _model(home: Home, daemon: Daemon, wanted: str | None) -> Candidate:
    """Raises Failure when there is no such model, or it is not clear which."""
    candidates = _candidates(home, daemon.get("/v1/models")["data"])
    if wanted is None:
        chosen = choose(candidates)
        if chosen is not None:
            return chosen
        names = ", ".join(each.name for each in candidates if each.takes_part) or "none"
        raise Failure(f"which model? --model NAME; there are: {names}")
    from urllib.parse import quote

    model = daemon.get(f"/v1/models/{quote(wanted, safe='')}")
    return Candidate(wanted, model["context_length"], model["loaded"], False, True)


def _candidates(home: Home, models: list[dict[str, Any]]) -> list[Candidate]:
    """The declared models by their own names."""
    from ...config.errors import ConfigError
    from ...config.load import load_file

    try:
        specs = load_file(home.config).models
    except ConfigError:
        specs = {}
    found = []
    for model in models:
        if model["id"] != model["root"]:
            continue
        spec = specs.get(model["id"])
        toy = spec is not None and spec.path.startswith("builtin:")
        able = spec is None or spec.kind in ("auto", "text")
        found.append(Candidate(model["id"], model["context_length"], model["loaded"], toy, able))
    return found


def _check(daemon: Daemon, key: str | None) -> None:
    """Raises Failure when the server would not let the tool in."""
    own, daemon.token = daemon.token, key
    try:
        daemon.get("/v1/models")
    except Failure as failure:
        raise Failure(
            f"{failure}\ngive a key with --key or FASTMLX_API_KEY; "
            "`fastmlx keys create NAME` makes one"
        ) from None
    finally:
        daemon.token = own


def _shown(start: Start, key: str | None) -> str:
    """As a shell would take it, without the key."""
    lines = [f"unset {name}" for name in start.without]
    for name, value in start.environment.items():
        shown = value.replace(key, HIDDEN) if key else value
        lines.append(f"export {name}={shlex.quote(shown)}")
    return "\n".join([*lines, shlex.join(start.arguments)])


def _execute(tool: Tool, start: Start) -> int:
    """Becomes the tool. Raises Failure when it is not here."""
    program = shutil.which(tool.program)
    if program is None:
        raise Failure(f"{tool.program} is not on this machine; get it with: {tool.install}")
    environment = {k: v for k, v in os.environ.items() if k not in start.without}
    os.execve(program, [*start.arguments], {**environment, **start.environment})  # noqa: S606
