"""install, status, restart and uninstall as a user types them, in a real systemd session."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.launchd.runner import Completed
from live import LiveDaemon

CONFIG = "server: {port: 0, drain_timeout: 5s}\nmodels: {}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "fast mlx 100%"
    home.mkdir()
    (home / "config.yaml").write_text(CONFIG)
    return home


def status(fastmlx: Callable[..., Completed]) -> dict:
    return json.loads(fastmlx("status", "--json").output)


def test_install_starts_a_daemon_that_answers_and_again_changes_nothing(fastmlx, home, session):
    done = fastmlx("install")
    assert done.status == 0, done.output
    now = status(fastmlx)
    assert now["running"] is True
    assert now["service"] == {
        "manager": "systemd",
        "installed": True,
        "running": True,
        "pid": now["pid"],
        "home": str(home),
        "detail": "running",
        "on_demand": False,
    }
    assert f"installed: {session.units}/fastmlx.service" in done.output
    assert f"runs at {now['url']} (pid {now['pid']})" in done.output
    again = fastmlx("install")
    assert again.status == 0, again.output
    assert f"runs already at {now['url']} (pid {now['pid']})" in again.output
    assert "systemd: running" in fastmlx("status").output
    # Once, and not into the file that nobody rotates.
    assert "serves at" in (home / "logs" / "fastmlx.log").read_text()
    assert (home / "logs" / "service.log").read_text() == ""


def test_a_killed_daemon_comes_back_restart_waits_and_a_clean_stop_is_not_undone(
    fastmlx, home, session
):
    assert fastmlx("install").status == 0
    server_json = home / "run" / "server.json"
    first = json.loads(server_json.read_text())["pid"]
    session(["kill", "-KILL", str(first)])
    deadline = time.monotonic() + 60
    while json.loads(server_json.read_text())["pid"] in (None, first):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    now = status(fastmlx)
    second, before = now["pid"], now["started_at"]
    done = fastmlx("restart")
    assert done.status == 0, done.output
    now = status(fastmlx)
    assert now["pid"] == second, "it is the same process that starts again"
    assert now["started_at"] > before
    assert done.output == f"runs at {now['url']} (pid {now['pid']})"

    session(["kill", "-TERM", str(second)])
    deadline = time.monotonic() + 60
    while server_json.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # It would be "activating (auto-restart)" for as long as systemd waits with a crashed one.
    while (service := status(fastmlx)["service"])["detail"] != "inactive (dead)":
        assert time.monotonic() < deadline, service
        time.sleep(0.2)
    assert service["installed"] is True
    assert status(fastmlx)["running"] is False
    assert fastmlx("install").status == 0
    assert status(fastmlx)["running"] is True


def test_uninstall_stops_it_and_may_be_repeated(fastmlx, home, session):
    assert fastmlx("install").status == 0
    done = fastmlx("uninstall")
    assert done == Completed(0, f"removed: {session.units}/fastmlx.service")
    assert status(fastmlx)["running"] is False
    assert (home / "config.yaml").read_text() == CONFIG
    assert fastmlx("uninstall") == Completed(0, "there was no service to remove")
    restarted = fastmlx("restart")
    assert restarted.status == 1
    assert "fastmlx: fastmlx is not installed as a service" in restarted.output


def test_a_broken_config_is_said_before_anything_is_installed(fastmlx, home, session):
    (home / "config.yaml").write_text("server: {prot: 1}\n")
    done = fastmlx("install")
    assert done.status == 1
    assert f"fastmlx: {home}/config.yaml:1:10: server.prot" in done.output
    assert not (session.units / "fastmlx.service").exists()


def test_a_daemon_started_by_hand_is_not_doubled(fastmlx, home, session):
    with LiveDaemon(home, CONFIG) as daemon:
        done = fastmlx("install")
        assert done.status == 1
        assert f"already runs on {home} (pid {daemon.pid}); stop it first" in done.output
        assert not (session.units / "fastmlx.service").exists()
