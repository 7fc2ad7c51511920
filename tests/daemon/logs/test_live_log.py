"""The log of a daemon that answers: a request's lines, from the front and from its engine."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from fastmlx.daemon.logs.entry import Entry, Wanted
from fastmlx.daemon.logs.read import last
from live import LiveDaemon

Live = Callable[..., LiveDaemon]


def entries(daemon: LiveDaemon, wanted: Wanted) -> list[Entry]:
    return last(daemon.home / "logs" / "fastmlx.log", 1000, wanted)


def test_a_request_is_followed_through_front_and_engine_and_an_edited_level_reaches_both(
    live: Live, tiny_model: Callable[..., Path]
):
    models = f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}"
    daemon = live(f"server: {{log_level: debug}}\n{models}")
    body = {"model": "tiny", "prompt": "a", "max_tokens": 3, "seed": 1}
    forged = "r-1\x85{} \u2028 level=error"
    with daemon.http() as client:
        headers = {b"x-request-id": forged.encode()}
        answer = client.post("/v1/completions", json=body, headers=headers)
        identity = answer.json()["id"]
        client.post("/v1/completions", json=body)
    mine = entries(daemon, Wanted(request=identity))
    loggers = [entry.logger for entry in mine]
    assert "daemon.tasks.books" in loggers
    assert loggers.count("daemon.engine.core") == 2  # it came, it ended
    assert {entry.model for entry in mine if "engine.core" in entry.logger} == {"tiny"}
    # The engine was started for the first request; what it says later is not about that one.
    books = next(entry for entry in mine if entry.logger == "daemon.tasks.books")
    assert "3 output tokens" in books.message
    assert books.http
    assert entries(daemon, Wanted(request=books.http)) != []
    file = daemon.home / "logs" / "fastmlx.log"
    lines = file.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert all(line.startswith(b'{"time":"') and line.endswith(b"}") for line in lines)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def asked() -> int:
        """Lines of the engine's core about one more request."""
        with daemon.http() as client:
            identity = client.post("/v1/completions", json=body).json()["id"]
        mine = entries(daemon, Wanted(request=identity, model="tiny"))
        return len([entry for entry in mine if "engine.core" in entry.logger])

    for level, says in (("info", False), ("debug", True)):
        daemon.edit_config(f"server: {{log_level: {level}}}\n{models}")
        daemon.wait_until(lambda says=says: bool(asked()) is says, 20, f"it logs at level {level}")
