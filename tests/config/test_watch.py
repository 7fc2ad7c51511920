"""A save of config.yaml, in whatever way an editor does it, arrives within a second.

Each wait has the promised second as its limit; where nothing must come, half a second more than
any event could need.
"""

# ruff: noqa: ASYNC240 - the edits are small and the watch runs beside them

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import fastmlx.config.watch
import pytest
from fastmlx.config.load import ConfigError
from fastmlx.config.settings import Settings
from fastmlx.config.watch import watch

GOOD = "server: {{port: {}}}\n"


class Seen:
    """What a watch has yielded, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Settings | ConfigError] = asyncio.Queue()

    async def next(self) -> Settings | ConfigError:
        return await asyncio.wait_for(self.queue.get(), timeout=1)

    async def port(self) -> int:
        outcome = await self.next()
        assert isinstance(outcome, Settings), outcome
        return outcome.server.port

    async def error(self) -> str:
        outcome = await self.next()
        assert isinstance(outcome, ConfigError)
        return str(outcome)

    async def nothing(self) -> None:
        await asyncio.sleep(1.2)
        assert self.queue.empty(), self.queue.get_nowait()


@asynccontextmanager
async def watching(path: Path, known: str | None = None) -> AsyncIterator[Seen]:
    seen = Seen()

    async def follow() -> None:
        async for outcome in watch(path, known=known, environ={}):
            seen.queue.put_nowait(outcome)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.3)  # so that what follows is an edit, not the state at the start
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "config.yaml"
    path.parent.mkdir()
    path.write_text(GOOD.format(1))
    return path


def replace(path: Path, text: str) -> None:
    beside = path.with_name(".config.yaml.swp")
    beside.write_text(text)
    beside.rename(path)


async def test_saves_in_place_and_by_renaming_arrive(path: Path) -> None:
    async with watching(path) as seen:
        path.write_text(GOOD.format(2))
        assert await seen.port() == 2
        replace(path, GOOD.format(3))
        assert await seen.port() == 3
        replace(path, GOOD.format(4))
        assert await seen.port() == 4


async def test_a_bad_edit_is_an_error_and_taking_it_back_is_the_settings(path: Path) -> None:
    async with watching(path) as seen:
        path.write_text("server: {prot: 2}\n")
        assert await seen.error() == (
            "config.yaml:1:10: server.prot: unknown key (did you mean 'port'?)"
        )
        path.write_text(GOOD.format(1))
        assert await seen.port() == 1


async def test_a_save_without_an_edit_and_other_files_are_nothing(path: Path) -> None:
    async with watching(path) as seen:
        path.write_text(GOOD.format(1))
        replace(path, GOOD.format(1))
        (path.parent / "fastmlx.db").write_text("busy")
        await seen.nothing()


async def test_an_edit_made_before_the_watch_began_is_not_lost(path: Path) -> None:
    async with watching(path, known=GOOD.format(7)) as seen:
        assert await seen.port() == 1


async def test_an_editor_that_leaves_the_file_empty_for_a_moment_removes_no_models(
    path: Path,
) -> None:
    async with watching(path) as seen:
        path.write_text("")
        await asyncio.sleep(0.15)
        path.write_text(GOOD.format(2))
        assert await seen.port() == 2
        path.unlink()
        await asyncio.sleep(0.15)
        path.write_text(GOOD.format(3))
        assert await seen.port() == 3


async def test_a_deleted_file_is_an_error_until_it_is_back(path: Path) -> None:
    async with watching(path) as seen:
        path.unlink()
        assert await seen.error() == "config.yaml: does not exist"
        path.write_text(GOOD.format(1))
        assert await seen.port() == 1


async def test_a_folder_in_its_place_is_an_error_until_it_is_gone(path: Path) -> None:
    async with watching(path) as seen:
        path.unlink()
        path.mkdir()
        assert await seen.error() == "config.yaml: is a folder, not a file"
        path.rmdir()
        replace(path, GOOD.format(2))
        assert await seen.port() == 2


async def test_a_file_that_was_broken_at_the_start_is_read_when_it_is_mended(path: Path) -> None:
    path.write_bytes(b"\xff")
    async with watching(path) as seen:
        path.write_text(GOOD.format(2))
        assert await seen.port() == 2


async def test_the_whole_folder_may_go_and_come_back(path: Path) -> None:
    async with watching(path) as seen:
        shutil.rmtree(path.parent)
        assert "does not exist" in await seen.error()
        path.parent.mkdir()
        path.write_text(GOOD.format(2))
        assert await seen.port() == 2
        path.write_text(GOOD.format(3))
        assert await seen.port() == 3


async def test_the_target_of_a_link_is_watched_and_the_link_may_move(path: Path) -> None:
    first, second = path.parent.parent / "first", path.parent.parent / "second"
    for port, folder in ((1, first), (2, second)):
        folder.mkdir()
        (folder / "real.yaml").write_text(GOOD.format(port))
    path.unlink()
    path.symlink_to(first / "real.yaml")
    async with watching(path) as seen:
        replace(first / "real.yaml", GOOD.format(11))
        assert await seen.port() == 11
        beside = path.with_name("new")
        beside.symlink_to(Path("../second/real.yaml"))
        beside.rename(path)
        assert await seen.port() == 2
        (second / "real.yaml").write_text(GOOD.format(22))
        assert await seen.port() == 22


def no_watches_left(*args: object, **kwargs: object) -> AsyncIterator[set[object]]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_where_events_fail_the_file_is_polled(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # inotify's limit is one of the whole machine: exhausting it for real would hit other programs.
    monkeypatch.setattr(fastmlx.config.watch, "awatch", no_watches_left)
    with caplog.at_level(logging.WARNING):
        async with watching(path) as seen:
            path.write_text(GOOD.format(2))
            assert await seen.port() == 2
            replace(path, "oops: 1")
            assert "unknown key" in await seen.error()
    assert caplog.text.count("is polled") == 1


@pytest.mark.parametrize("stop", ["cancel", "close"])
async def test_a_watch_ends_at_once(path: Path, stop: str) -> None:
    events = watch(path, environ={})
    step = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.2)
    if stop == "close":
        path.write_text(GOOD.format(2))
        await asyncio.wait_for(step, timeout=1)
        await asyncio.wait_for(events.aclose(), timeout=1)
    else:
        step.cancel()
        await asyncio.wait([step], timeout=1)
        assert step.cancelled()
