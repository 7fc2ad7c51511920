"""Houses of this test alone, after which no process may be left."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from houses import House


def descendants() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


@pytest.fixture
async def make_house(tmp_path: Path) -> AsyncIterator[Callable[..., House]]:
    houses: list[House] = []
    before = descendants()

    def make(**options: Any) -> House:
        houses.append(House(tmp_path / f"home{len(houses)}", **options))
        return houses[-1]

    yield make
    for house in houses:
        await house.supervisor.stop(0.0)
    assert not descendants() - before, "processes are left over"


@pytest.fixture
async def house(make_house: Callable[..., House]) -> House:
    return make_house()
