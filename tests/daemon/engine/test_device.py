"""What is said to Metal, which the test machines do not have."""

from __future__ import annotations

import mlx.core as mx
import pytest
from fastmlx.daemon.engine import device

RECOMMENDED = 20 << 30


@pytest.mark.parametrize(
    ("limit_bytes", "wired"), [(None, RECOMMENDED), (5 << 30, 5 << 30), (99 << 30, RECOMMENDED)]
)
def test_weights_are_wired_up_to_the_limit_and_what_the_system_recommends(
    limit_bytes: int | None, wired: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, list[int]] = {"memory": [], "wired": []}
    info = {"max_recommended_working_set_size": RECOMMENDED}
    monkeypatch.setattr(device, "is_metal", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: info)
    monkeypatch.setattr(mx, "set_memory_limit", told["memory"].append)
    monkeypatch.setattr(mx, "set_wired_limit", told["wired"].append)
    device.set_limits(limit_bytes)
    assert told == {"memory": [] if limit_bytes is None else [limit_bytes], "wired": [wired]}


def test_without_metal_nothing_is_wired(monkeypatch: pytest.MonkeyPatch) -> None:
    wired: list[int] = []
    monkeypatch.setattr(mx, "set_wired_limit", wired.append)
    device.set_limits(None)
    assert not wired
