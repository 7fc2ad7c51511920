"""Whatever a test does with an engine core: in the end its books balance."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from engines import assert_balanced


@pytest.fixture(scope="session", autouse=True)
def modules_stay() -> None:
    """The collector need not look at all modules again after every test, which takes longer than
    most of the tests."""
    import fastmlx.daemon.engine.core  # noqa: F401
    import mlx_lm.generate  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def books_balance(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Checks every core that the test has made."""
    from fastmlx.daemon.engine.core import EngineCore

    cores: list[EngineCore] = []
    begin = EngineCore.__init__

    def remembered(self: EngineCore, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        cores.append(self)

    monkeypatch.setattr(EngineCore, "__init__", remembered)
    yield
    if cores:
        gc.collect()  # what rows share is let go of when the last of them is
    for core in cores:
        assert_balanced(core)
