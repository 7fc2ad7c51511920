"""An edit of config.yaml reaches the engines that it concerns, and no others.

The supervisor is the real one; its engines are real processes that generate nonsense.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bad_engine
import folders
import psutil
import pytest
from fastmlx.config.load import load
from fastmlx.config.paths import Home
from fastmlx.config.settings import Settings
from fastmlx.daemon.protocol.errors import ModelNotFound
from fastmlx.daemon.reconcile import Report, memory_limit_bytes, reconcile
from fastmlx.daemon.supervisor.model import Declaration
from fastmlx.daemon.supervisor.status import ModelStatus, State
from fastmlx.daemon.supervisor.supervisor import Supervisor
from houses import TIMING, start, tokens_of

GIB = 1 << 30


class AttentiveSupervisor(Supervisor):
    """The real one; it remembers what it was told."""

    told: list[tuple[Any, ...]]

    async def declare(self, name: str, new: Declaration) -> None:
        self.told.append(("declare", name, *[n for n in new[1:5] if n is not None]))
        await super().declare(name, new)

    async def withdraw(self, name: str) -> None:
        self.told.append(("withdraw", name))
        await super().withdraw(name)

    def set_memory_limit(self, limit_bytes: int) -> None:
        self.told.append(("limit", limit_bytes))
        super().set_memory_limit(limit_bytes)


class Desk:
    """A person with config.yaml open, and the daemon's part that reads it."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.create()
        for name in ("a", "b", "c"):
            folders.write_model(self.home.models / name)
        self.supervisor = AttentiveSupervisor(
            home=self.home,
            memory_limit_bytes=1,
            command=[sys.executable, bad_engine.__file__],
            timing=TIMING,
        )
        self.supervisor.told = []
        self.settings: Settings | None = None

    async def save(self, text: str) -> Report:
        """The report; `supervisor.told` holds what this save alone has caused."""
        self.supervisor.told.clear()
        new = load(text, self.home.config, {})
        report = await reconcile(self.settings, new, self.supervisor)
        self.settings = new
        return report

    def status(self, name: str) -> ModelStatus:
        return next(s for s in self.supervisor.status() if s.name == name)

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end, self.supervisor.status()
            await asyncio.sleep(0.005)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "home")
    yield desk
    await desk.supervisor.stop(0.0)


async def test_at_the_start_everything_is_told(desk: Desk) -> None:
    report = await desk.save(
        """
memory: {limit: 2GiB}
defaults: {idle_timeout: 5m, max_concurrent: 8}
models:
  a: {path: ./models/a}
  b: {path: ./models/b, idle_timeout: 1s, max_concurrent: 2, max_waiting: 3, max_gap: 100ms}
  c: {path: ./models/c, pinned: true}
"""
    )
    assert desk.supervisor.told == [
        ("limit", 2 * GIB),
        ("declare", "a", 300.0, 8, 128),
        ("declare", "b", 1.0, 2, 3, 0.1),
        ("declare", "c", math.inf, 8, 128),
    ]
    cache = f"cache: 512 MiB in memory, 20.0 GiB in {desk.home.cache}"
    assert report.lines[:3] == ("memory.limit: 2.0 GiB", cache, "model a: added")
    assert report.preload is None
    assert [status.name for status in desk.supervisor.status()] == ["a", "b", "c"]


async def test_a_start_with_nothing_declared_still_sets_the_limit(desk: Desk) -> None:
    await desk.save("")
    ((what, limit_bytes),) = desk.supervisor.told
    assert what == "limit"
    assert 0 < limit_bytes <= psutil.virtual_memory().total


async def test_what_did_not_change_is_not_touched(desk: Desk) -> None:
    text = "models: {a: {path: ./models/a}, b: {path: ./models/b}}"
    await desk.save(text)
    report = await desk.save(text + "  # a remark")
    assert report.lines == ()
    assert desk.supervisor.told == []

    await desk.save("models: {a: {path: ./models/a}, b: {path: ./models/b, aliases: [gpt]}}")
    assert [what[:2] for what in desk.supervisor.told] == [("declare", "b")]


async def test_changed_defaults_reach_the_models_that_follow_them(desk: Desk) -> None:
    models = "models: {a: {path: ./models/a}, b: {path: ./models/b, idle_timeout: 5m}}"
    await desk.save(models)
    report = await desk.save(f"defaults: {{idle_timeout: never}}\n{models}")
    assert desk.supervisor.told == [("declare", "a", math.inf, 32, 128)]
    assert "model a: follows the changed defaults" in report.lines


async def test_a_live_change_keeps_the_engine_and_its_stream(desk: Desk) -> None:
    await desk.save("models: {a: {path: ./models/a}}")
    async with desk.supervisor.lease("a") as lease:
        generation = start(lease, [1], 200)
        stream = asyncio.create_task(tokens_of(generation))
        pid = desk.status("a").pid
        report = await desk.save("models: {a: {path: ./models/a, idle_timeout: 7s, aliases: [q]}}")
        assert len(await stream) == 200
    assert desk.status("a").pid == pid
    assert desk.status("a").idle_timeout_s == 7
    assert "model a: aliases, idle_timeout changed" in report.lines
    async with desk.supervisor.lease("q") as lease:
        assert lease.name == "a"


async def test_a_change_that_needs_a_new_engine_gets_one(desk: Desk) -> None:
    await desk.save("models: {a: {path: ./models/a}}")
    await desk.supervisor.load("a")
    pid = desk.status("a").pid
    report = await desk.save("models: {a: {path: ./models/b}}")
    assert report.lines == ("model a: path changed; starts again if it is loaded",)
    await desk.until(lambda: desk.status("a").state is State.READY and desk.status("a").pid != pid)


async def test_a_removed_model_is_gone_and_a_renamed_one_answers_to_the_new_name(
    desk: Desk,
) -> None:
    await desk.save("models: {a: {path: ./models/a}, b: {path: ./models/b}}")
    report = await desk.save("models: {new: {path: ./models/a}}")
    assert [what[:2] for what in desk.supervisor.told] == [
        ("withdraw", "a"),
        ("withdraw", "b"),
        ("declare", "new"),
    ]
    assert report.lines == ("model a: removed", "model b: removed", "model new: added")
    with pytest.raises(ModelNotFound):
        await desk.supervisor.load("a")
    await desk.supervisor.load("new")


async def test_models_to_preload_are_loaded_when_they_are_added(desk: Desk) -> None:
    report = await desk.save(
        "models: {a: {path: ./models/a, preload: true}, b: {path: ./models/b}}"
    )
    assert report.preload is not None
    await report.preload
    assert desk.status("a").state is State.READY
    assert desk.status("b").state is State.STOPPED

    report = await desk.save(
        "models: {a: {path: ./models/a, preload: true}, b: {path: ./models/b, preload: true}}"
    )
    assert report.preload is not None
    await report.preload
    assert desk.status("b").state is State.READY

    await desk.supervisor.unload("a")
    report = await desk.save(
        "models: {a: {path: ./models/a, preload: true, pinned: true}, b: {path: ./models/b}}"
    )
    assert report.preload is None, "an unloaded model is not loaded by an edit of something else"


async def test_a_preload_that_fails_is_in_the_log_and_the_next_one_goes_on(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    report = await desk.save(
        "models: {x: {path: ./models/none, preload: true}, a: {path: ./models/a, preload: true}}"
    )
    assert report.preload is not None
    with caplog.at_level(logging.ERROR, "fastmlx.daemon.reconcile"):
        await report.preload
    assert "model x could not be preloaded: " in caplog.text
    assert desk.status("a").state is State.READY


async def test_the_memory_limit_changes_at_once(desk: Desk) -> None:
    await desk.save("memory: {limit: 1GiB}")
    await desk.save("memory: {limit: 50%}")
    half = int(psutil.virtual_memory().total / 2)
    assert desk.supervisor.told == [("limit", half)]
    assert memory_limit_bytes(Settings()) < psutil.virtual_memory().total


async def test_what_waits_for_a_restart_is_said(desk: Desk) -> None:
    await desk.save("server: {port: 1}")
    report = await desk.save("server: {port: 2, log_level: debug}")
    assert desk.supervisor.told == []
    assert report.needs_restart == ("server.port",)
    assert report.lines == (
        "server.port: changed, at the next start",
        "server.log_level: changed, in force",
    )
