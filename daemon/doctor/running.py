"""Checks of what runs: port, who may come in, service, and an answer of one token."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...config.errors import ConfigError
from ...config.paths import Home
from ...launchd.service import ServiceState
from ..access.exposure import HINT, is_exposed
from ..access.file import read
from .finding import Finding, fault, ok, warning

START_S = 90.0  # for a daemon and the demo model
STOP_S = 30.0
TRIAL = "server: {port: 0}\nmodels: {demo: {path: 'builtin:demo'}}\n"


def port(host: str, number: int, daemon_url: str | None) -> Finding:
    """Whether the daemon has its port, or could have it."""
    if daemon_url is not None:
        return ok("Port", f"the daemon serves at {daemon_url}")
    if number == 0:
        return ok("Port", "any free one is taken")
    text = f"{number} on {host}"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, number), family=family):
            return ok("Port", f"{text} is free")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            who = f"see who: `lsof -nP -iTCP:{number} -sTCP:LISTEN`; or change server.port"
            return fault("Port", f"{text} is taken by another program", who)
        return fault("Port", f"{text}: {error.strerror}", "change server.host or server.port")


def access(host: str, home: Home) -> Finding:
    """Who may come in at `host`."""
    try:
        kept = read(home)
    except ConfigError as error:
        remedy = "correct it, or move it away and make the keys again: `fastmlx keys create NAME`"
        return fault("Access", str(error), remedy)
    keys = f"{len(kept.keys)} API {'key' if len(kept.keys) == 1 else 'keys'}"
    if not is_exposed(host):
        return ok("Access", f"from this machine only; {keys}")
    text = f"{host} can be reached from other machines; {keys}"
    if kept.keys:
        return ok("Access", text)
    return fault("Access", f"{text}: the daemon does not start so", HINT)


def service(state: ServiceState | None, home: Path) -> Finding:
    """`state` is None where there is no service manager."""
    if state is None:
        return ok("Service", "there is no launchd or systemd here; `fastmlx serve` runs it")
    if not state.installed:
        return ok("Service", "not installed; `fastmlx install` starts the daemon at every login")
    text = f"{state.manager}: {state.detail}"
    if state.home not in (None, home):
        remedy = f"`fastmlx install --home {home}` makes it serve this one"
        return warning("Service", f"{text}, for another home: {state.home}", remedy)
    if state.running or state.on_demand:
        return ok("Service", text)
    return fault("Service", text, "`fastmlx restart`; logs/service.log and `fastmlx logs` tell why")


def generation(
    ask: Callable[[str, Any], Any] | None,
    models: list[dict[str, Any]],
    ask_at: Callable[[Home], Mapping[str, Any] | None],
) -> Finding:
    """One token: from a model that is loaded, or from the demo. `ask` posts to the daemon that
    runs. Without one, and where it would have to load a model of the user's first, a daemon on a
    home of its own is started, which `ask_at` asks, giving None as long as it does not answer."""
    ready = (each["name"] for each in models if each["state"] == "ready")
    demo = (each["name"] for each in models if each["name"] == "demo")
    name = next(ready, None) or next(demo, None)
    try:
        if ask is None or name is None:
            return _of(_trial(ask_at), "demo, in a daemon started for this")
        return _of(ask("/v1/completions", request(name)), name)
    except Exception as error:  # whatever it is: it is what the check is for
        remedy = "`fastmlx logs --level warning` tells more"
        return fault("Generation", str(error).strip() or type(error).__name__, remedy)


def request(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": "1, 2, 3,", "max_tokens": 1, "temperature": 0}


def _of(answer: Mapping[str, Any], who: str) -> Finding:
    count = answer["usage"]["completion_tokens"]
    if count != 1:
        remedy = "`fastmlx logs` tells more"
        return fault("Generation", f"{who} gave {count} tokens instead of one", remedy)
    return ok("Generation", f"one token of {who}")


def _trial(ask_at: Callable[[Home], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """Raises RuntimeError with what the daemon said."""
    with tempfile.TemporaryDirectory(prefix="fastmlx-doctor-") as folder:
        home = Home(Path(folder))
        home.config.write_text(TRIAL)
        # Neither another daemon's socket nor settings of a service.
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("FASTMLX_", "LISTEN_"))}
        process = subprocess.Popen(
            [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", folder],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline and process.poll() is None:
                if (answer := ask_at(home)) is not None:
                    return answer
                time.sleep(0.1)
            process.kill()
            said = (process.communicate()[1] or "").strip().rpartition("\n")[2]
            raise RuntimeError(f"a daemon with the demo model did not start: {said or 'no word'}")
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def said_by(command: list[str], timeout_s: float) -> tuple[dict[str, Any] | None, str]:
    """The JSON that a program prints, or why there is none."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
        return json.loads(done.stdout), ""
    except subprocess.TimeoutExpired:
        return None, f"it does not answer within {timeout_s:.0f} s"
    except (OSError, ValueError) as error:
        printed = done.stderr if isinstance(error, ValueError) else str(error)  # pyright: ignore[reportPossiblyUnboundVariable]
        return None, printed or "it printed nothing"
