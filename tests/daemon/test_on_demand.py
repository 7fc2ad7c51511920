"""A daemon that is started by the first connection and exits when nobody needs it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastmlx.launchd.runner import Completed

ACTIVATE = shutil.which("systemd-socket-activate")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait(condition: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(
    # .ci/run installs it: there it must not be left out.
    ACTIVATE is None and (sys.platform != "linux" or "CI" not in os.environ),
    reason="systemd-socket-activate is not installed (Debian: systemd)",
)
def test_systemd_s_socket_serves_and_an_idle_daemon_exits(tmp_path: Path, port: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # Another port than the one that is handed over, which goes before it.
    (home / "config.yaml").write_text("server: {port: 1, exit_when_idle: 2s}\nmodels: {}\n")
    serve = [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(home)]
    assert ACTIVATE is not None
    with (tmp_path / "output").open("wb") as output:
        # It starts the program at the first connection, and becomes it.
        process = subprocess.Popen(
            [ACTIVATE, f"--listen=127.0.0.1:{port}", *serve], stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait(lambda: connects(port))
        assert httpx.get(url + "/health", timeout=90).json() == {"status": "ok"}
        said = json.loads((home / "run" / "server.json").read_text())
        assert said["url"] == url
        assert said["pid"] in (process.pid, None)  # a slow machine may see it gone already
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
    log = (home / "logs" / "fastmlx.log").read_text()
    assert "nobody asked for anything for 2 s" in log
    said = json.loads((home / "run" / "server.json").read_text())
    assert said["pid"] is None, "a connection would start it"


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except ConnectionRefusedError:
        return False


@pytest.fixture
def home(tmp_path: Path, port: int) -> Path:
    home = tmp_path / "fast mlx 100%"
    home.mkdir()
    (home / "config.yaml").write_text(
        f"server: {{port: {port}, exit_when_idle: never}}\nmodels: {{}}\n"
    )
    return home


def status(fastmlx: Callable[..., Completed]) -> dict:
    return json.loads(fastmlx("status", "--json").output)


def test_installed_on_demand_it_comes_and_goes(fastmlx, home, port, session):
    url = f"http://127.0.0.1:{port}"
    done = fastmlx("install", "--on-demand")
    assert done.status == 0, done.output
    assert f"systemd listens at {url}; the first connection starts the daemon" in done.output
    now = status(fastmlx)
    assert (now["running"], now["service"]["on_demand"]) == (False, True), "looking does not start"
    assert now["service"]["detail"] == "waits for a connection"
    assert "the next connection starts it" in fastmlx("status").output
    enabled = ["systemctl", "--user", "is-enabled", "fastmlx.socket"]
    assert session(enabled).output == "enabled"

    assert httpx.get(url + "/health", timeout=90).json() == {"status": "ok"}
    now = status(fastmlx)
    assert (now["running"], now["url"]) == (True, url)
    assert now["service"]["pid"] == now["pid"]

    restarted = fastmlx("restart")
    assert restarted.status == 0, restarted.output
    assert restarted.output == f"runs at {url} (pid {now['pid']})"
    again = fastmlx("install", "--on-demand")
    assert f"runs already at {url}" in again.output

    (home / "config.yaml").write_text(
        f"server: {{port: {port}, exit_when_idle: 1s}}\nmodels: {{}}\n"
    )
    wait(lambda: not status(fastmlx)["running"])
    assert status(fastmlx)["service"]["detail"] == "waits for a connection"
    (home / "config.yaml").write_text(f"server: {{port: {port}}}\nmodels: {{}}\n")
    # A verb that needs the daemon starts it, too.
    assert "there is no model 'nobody'" in fastmlx("load", "nobody").output.lower()
    assert status(fastmlx)["running"] is True

    at_login = fastmlx("install")
    assert at_login.status == 0, at_login.output
    assert status(fastmlx)["service"]["on_demand"] is False
    assert not (session.units / "fastmlx.socket").exists()


def test_uninstall_removes_the_socket_too(fastmlx, home, session):
    assert fastmlx("install", "--on-demand").status == 0
    assert fastmlx("uninstall").status == 0
    assert not list(session.units.rglob("fastmlx*"))
    assert fastmlx("uninstall").output == "there was no service to remove"


def test_a_service_on_demand_needs_a_port_of_its_own(fastmlx, home, session):
    (home / "config.yaml").write_text("server: {port: 0}\nmodels: {}\n")
    done = fastmlx("install", "--on-demand")
    assert done.status == 1
    assert "server.port is 0" in done.output
    assert not list(session.units.rglob("fastmlx*"))
