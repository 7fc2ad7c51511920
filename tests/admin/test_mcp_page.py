"""`/admin/mcp`: servers, tools, errors, and the button that connects anew; on a daemon that has
mcp.json from its start, and ends its servers when it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from fastmlx.daemon.commands.status import for_people
from live import LiveDaemon

PROGRAM = str(Path(__file__).parents[1] / "mcp_server.py")
EMPTY = "models: {}\n"


def save(daemon: LiveDaemon, text: str) -> None:
    new = daemon.home / "mcp.new"
    new.write_text(text)
    new.replace(daemon.home / "mcp.json")


def test_servers_come_and_go_on_the_page(live: Callable[..., LiveDaemon]) -> None:
    daemon = live(EMPTY)
    ours = {"command": sys.executable, "args": [PROGRAM]}
    gone = {"command": "<b>no-such</b>"}
    with daemon.http() as http:

        def page() -> str:
            return http.get("/admin/mcp").text

        assert "No server is declared" in page()
        save(daemon, json.dumps({"mcpServers": {"sums": ours, "<i>x</i>": gone}}))
        daemon.wait_until(lambda: "The sum of two whole numbers." in page(), 30)
        daemon.wait_until(lambda: "no program" in page())
        text = page()
        assert '<span class="state ready">ready</span>' in text
        assert "&lt;b&gt;no-such" in text
        assert "<b>no-such" not in text

        front = psutil.Process(daemon.pid)
        before = front.children(recursive=True)
        assert len(before) == 2  # the program and its minder
        pressed = http.post("/admin/mcp/reconnect", data={"server": "sums"})
        assert (pressed.status_code, pressed.headers["location"]) == (303, "/admin/mcp")
        daemon.wait_until(lambda: not any(each.is_running() for each in before))
        daemon.wait_until(lambda: '<span class="state ready">ready</span>' in page(), 30)
        assert http.post("/admin/mcp/reconnect", data={"server": "no"}).status_code == 404
        assert http.post("/admin/mcp/reconnect").status_code == 404
        foreign = {"origin": "https://elsewhere.example"}
        refused = http.post("/admin/mcp/reconnect", data={"server": "sums"}, headers=foreign)
        assert refused.status_code == 403

        said = for_people(daemon.status() | {"running": True, "service": {"installed": False}})
        assert "1 of 2 servers connected, 5 tools" in said
        assert "no program" in said

        save(daemon, '{"mcpServers": {')
        daemon.wait_until(lambda: "mcp.json has an error" in page())
        assert "mcp.json has an error" in http.get("/admin/").text
        assert daemon.status()["mcp"]["error"]["line"] == 1
        assert "what was connected stays" in daemon.log()
        assert '<span class="state ready">ready</span>' in page()

    left = front.children(recursive=True)
    assert left
    assert daemon.stop() == 0
    assert not any(each.is_running() for each in left)
