"""Stores in a directory of the test's own, closed and checked when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.cold.index import Index
from fastmlx.daemon.engine.kv.cold.store import ColdStore

MIB = 1 << 20
Open = Callable[..., ColdStore]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(directory: Path) -> Iterator[Open]:
    """`opened(limit_bytes=…, …)` → a store; several are several engines' stores."""
    stores: list[ColdStore] = []

    def open_store(
        limit_bytes: int = 64 * MIB, budget: int | None = None, **kwargs: Any
    ) -> ColdStore:
        kwargs.setdefault("open_timeout_s", 10.0)
        stores.append(ColdStore(directory, limit_bytes, budget, **kwargs))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()
    if (directory / "index.sqlite").exists():
        index = Index(directory)
        index.check()
        index.close()
