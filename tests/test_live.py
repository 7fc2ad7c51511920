"""The fixture that starts real daemons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from live import LiveDaemon


def test_a_daemon_answers_until_it_is_stopped_and_leaves_cleanly(
    live: Callable[..., LiveDaemon], tiny_model: Callable[..., Path]
):
    daemon = live(f"models:\n  tiny:\n    path: {tiny_model('qwen3')}\n")
    assert daemon.model("tiny")["state"] == "stopped"
    answer = daemon.openai().completions.create(model="tiny", prompt="Hello", max_tokens=3)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert daemon.stop() == 0
    with pytest.raises(httpx.TransportError):
        daemon.status()


def test_a_daemon_that_cannot_start_says_why(live: Callable[..., LiveDaemon]):
    with pytest.raises(AssertionError, match=r"config\.yaml:1:"):
        live("modells: {}\n")


def test_an_exception_carries_the_log(tmp_path: Path):
    with pytest.raises(ZeroDivisionError) as caught, LiveDaemon(tmp_path / "home", "models: {}\n"):
        raise ZeroDivisionError
    assert any("console.txt" in note for note in caught.value.__notes__)
