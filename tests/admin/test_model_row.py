"""What a row says and offers in every state."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fastmlx.admin.model_row import Button, button, colour, idle, model_rows
from fastmlx.daemon.supervisor.status import ModelStatus, State


def status(**fields: Any) -> ModelStatus:
    defaults: dict[str, Any] = {
        "name": "demo",
        "aliases": (),
        "state": State.READY,
        "pid": 1,
        "memory_bytes": 10,
        "requests_running": 0,
        "requests_waiting": 0,
        "idle_s": 60.0,
        "idle_timeout_s": 900.0,
        "restarts": 0,
        "error": None,
        "loading": None,
        "pinned": False,
        "context": None,
        "weights_bytes": None,
        "architecture": None,
        "output_tokens": 0,
        "tokens_per_s": 0.0,
        "max_concurrent": 1,
        "max_waiting": 1,
    }
    return ModelStatus(**{**defaults, **fields})


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.STOPPED, Button("load", "Load")),
        (State.STARTING, Button("unload", "Cancel")),
        (State.READY, Button("unload", "Unload")),
        (State.STOPPING, None),
        (State.FAILED, Button("load", "Try again")),
    ],
)
def test_every_state_offers_the_action_that_makes_sense(
    state: State, expected: Button | None
) -> None:
    assert button(status(state=state)) == expected


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "unloads in 14 min"),
        ({"idle_s": 899.0}, "unloads in 1 s"),
        ({"idle_s": 1000.0}, "unloads in 0 s"),
        ({"idle_s": None}, "in use"),
        ({"idle_timeout_s": math.inf}, "stays loaded"),
        ({"pinned": True, "idle_timeout_s": math.inf}, "pinned"),
        ({"state": State.STOPPED}, ""),
    ],
)
def test_the_countdown_to_unloading(fields: dict[str, Any], text: str) -> None:
    assert idle(status(**fields)) == text


def test_a_model_that_left_the_configuration_has_no_button() -> None:
    (row,) = model_rows([status()], [], {})
    assert not row.is_declared
    assert row.button is None


def test_why_a_click_failed_is_shown_until_the_model_is_loaded() -> None:
    failures: dict[str, str | None] = {"demo": "no room"}
    (row,) = model_rows([status(state=State.STOPPED)], ["demo"], failures)
    assert row.problem == "no room"
    (row,) = model_rows([status(state=State.READY)], ["demo"], failures)
    assert row.problem is None
    (row,) = model_rows([status(state=State.FAILED, error="broken file")], ["demo"], failures)
    assert row.problem == "broken file"


def test_models_beyond_the_palette_share_the_last_colour() -> None:
    assert [colour(i) for i in (0, 7, 8, 50)] == ["m0", "m7", "m8", "m8"]
