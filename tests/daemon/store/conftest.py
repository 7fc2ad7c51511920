"""A store in a temporary folder, and rows for it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.store.rows import UsageRow
from fastmlx.daemon.store.store import Store

MakeRow = Callable[..., UsageRow]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fastmlx.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store.open(path)
    yield store
    store.close()


@pytest.fixture
def row() -> MakeRow:
    """Makes rows with a fresh request id, now, of the model "demo", unless told otherwise."""
    numbers = itertools.count()

    def make(**fields: Any) -> UsageRow:
        defaults: dict[str, Any] = {
            "at_ms": int(time.time() * 1000),
            "request_id": f"req-{next(numbers)}",
            "model": "demo",
            "dialect": "openai_chat",
        }
        return UsageRow(**{**defaults, **fields})

    return make
