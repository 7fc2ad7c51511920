"""A small Hub on this machine, and who fetches from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastmlx.daemon.hub.downloads import Downloads
from fetching import QUICK
from hub import SmallHub, small_hub, use


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A Hub with org/model, which this process uses, with an empty cache."""
    with small_hub(tmp_path / "source") as hub:
        use(hub.url, tmp_path / "cache", monkeypatch.setattr)
        yield hub


@pytest.fixture
async def downloads(hub: SmallHub, tmp_path: Path) -> AsyncIterator[Downloads]:
    downloads = Downloads(tmp_path / "downloads.json", QUICK)
    yield downloads
    await downloads.close()
