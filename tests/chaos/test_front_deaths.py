"""kill -9 of the front: its engines end by themselves, the port and the home are free at once, the
database opens clean, and prefixes on disk are whole."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import psutil
from fastmlx.daemon.doctor.files import cold_tier, database
from live import LiveDaemon

Live = Callable[..., LiveDaemon]


def test_a_dead_front_leaves_nothing_behind(live: Live, tiny_model: Callable[..., Path]) -> None:
    daemon = live(f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}")
    port = int(daemon.url.rpartition(":")[2])
    body = {"model": "tiny", "prompt": "a b c", "max_tokens": 4, "temperature": 0}
    first = httpx.post(f"{daemon.url}/v1/completions", json=body, timeout=60).json()
    with daemon.openai() as client:
        stream = client.completions.create(
            model="tiny",
            prompt="x",
            max_tokens=4000,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        children = psutil.Process(daemon.pid).children(recursive=True)
        assert children, "an engine runs"
        daemon.kill()
        with socket.create_server(("127.0.0.1", port), reuse_port=False):
            pass  # free at once
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == [], "orphans"
    for check in (database(daemon.home / "fastmlx.db"), cold_tier(daemon.home / "cache")):
        assert check.state == "ok", check
    daemon.start()
    again = httpx.post(f"{daemon.url}/v1/completions", json=body, timeout=60).json()
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    deadline = time.monotonic() + 30
    while rows(daemon) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rows(daemon: LiveDaemon) -> int:
    with closing(sqlite3.connect(daemon.home / "fastmlx.db")) as connection:
        return connection.execute("select count(*) from usage").fetchone()[0]
