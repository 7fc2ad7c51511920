"""A download from tests/hub.py, begun, ended and looked at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from fastmlx.daemon.hub.cache_folder import CacheFolder
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.download import Download
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.hub.transfer import Patience
from hub import Fault, SmallHub

QUICK = Patience(tries=3, first_s=0.01, longest_s=0.02)
WEIGHTS = "model.safetensors"
NEEDED = ["chat_template.jinja", "config.json", WEIGHTS]


def folder_of(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache", "org/model")


async def fetched(downloads: Downloads, revision: str | None = None) -> Download:
    """org/model, to the end."""
    download = await downloads.start("org/model", revision)
    await downloads.finished(download)
    return download


def below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


def assert_whole(download: Download, hub: SmallHub, names: list[str] | None = None) -> None:
    """The snapshot is what the Hub has, and every tool finds it."""
    files = {p.relative_to(download.snapshot).as_posix() for p in download.snapshot.rglob("*")}
    assert {name for name in files if "." in name} == set(names or NEEDED)
    for name in names or NEEDED:
        assert (download.snapshot / name).read_bytes() == hub.models["org/model"][name]
    assert resolve("org/model") == download.snapshot
    assert not list(download.folder.root.rglob("*.partial"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (threads change it)
            await asyncio.sleep(0.01)


def held(hub: SmallHub, after: int = 100_000) -> threading.Event:
    """The weights stop after so many bytes, until the event is set."""
    go_on = threading.Event()
    hub.fail(WEIGHTS, Fault(after=after, until=go_on))
    return go_on


async def begun(downloads: Downloads, at_least: int = 100_000) -> Download:
    download = await downloads.start("org/model")
    await until(lambda: download.done_bytes >= at_least)
    return download
