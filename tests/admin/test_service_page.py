"""The Service page: restart here, install and uninstall in a real systemd session."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastmlx.launchd.runner import Completed
from live import LiveDaemon
from user_session import UserSession

ASK = """import sys, urllib.request as web
asked = web.Request(sys.argv[1], method=sys.argv[2])
print(web.urlopen(asked, timeout=30).read().decode())"""
CONFIG = "server: {port: 0, drain_timeout: 1s}\nmodels: {}\n"


def test_restart_answers_first_and_the_page_comes_back_at_the_same_address(tmp_path: Path) -> None:
    with LiveDaemon(tmp_path / "home", CONFIG) as daemon, daemon.http() as http:
        before = daemon.status()["started_at"]
        page = http.get("/admin/service").text
        assert str(daemon.pid) in page and "started by hand" in page
        answer = http.post("/admin/service/restart")
        assert answer.status_code == 200
        assert "Restarting" in answer.text
        daemon.wait_until(lambda: daemon.status()["started_at"] > before, 60)
        assert http.get("/admin/service").status_code == 200
        daemon.edit_config(CONFIG + "nonsense: 1\n")
        answer = http.post("/admin/service/restart")
        assert answer.status_code == 400
        assert "Nothing was restarted" in answer.text


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text(CONFIG)
    return home


def test_it_is_installed_and_uninstalled_from_the_browser(
    fastmlx: Callable[..., Completed], session: UserSession, tmp_path: Path
) -> None:
    def status() -> dict[str, Any]:
        return json.loads(fastmlx("status", "--json").output)

    def until(done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, fastmlx("status").output
            time.sleep(0.2)

    def press(button: str) -> str:
        address = f"{status()['url']}/admin/service{button}"
        return session([sys.executable, "-c", ASK, address, "POST" if button else "GET"]).output

    python = f"exec {sys.executable} -m fastmlx.daemon serve --home {tmp_path / 'home'}"
    session(["sh", "-c", f"({python}) >/dev/null 2>&1 </dev/null &"])
    until(lambda: status()["running"])
    by_hand = status()["pid"]
    assert 'action="/admin/service/install"' in press("")
    assert "Installing" in press("/install")
    until(lambda: status()["running"] and status()["service"]["running"])
    now = status()
    assert now["service"]["pid"] == now["pid"] != by_hand
    page = press("")
    assert "kept alive by systemd" in page and "ExecStart=" in page
    assert "Uninstalling" in press("/uninstall")
    until(lambda: not status()["running"] and not status()["service"]["installed"])
    assert not (session.units / "fastmlx.service").exists()
