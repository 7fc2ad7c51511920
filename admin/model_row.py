"""A model's status → what its row shows and which button it offers. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..daemon.supervisor.status import ModelStatus, State
from .numbers import duration

COLOURS = 8  # classes m0 … m7 of the stylesheet; later models share m8


class Button(NamedTuple):
    verb: str  # "load" or "unload": the address
    label: str


class ModelRow(NamedTuple):
    model: ModelStatus
    colour: str  # class of the stylesheet, the same in table, memory bar and plots
    idle: str  # what becomes of it when nobody asks for it
    button: Button | None
    is_declared: bool  # False: was taken out of config.yaml and finishes its requests
    problem: str | None


def model_rows(
    models: Sequence[ModelStatus], declared: Collection[str], failures: dict[str, str | None]
) -> list[ModelRow]:
    """Rows in the order of `models`."""
    rows = []
    for index, model in enumerate(models):
        is_declared = model.name in declared
        rows.append(
            ModelRow(
                model,
                colour(index),
                idle(model),
                button(model) if is_declared else None,
                is_declared,
                model.error or (failures.get(model.name) if is_down(model) else None),
            )
        )
    return rows


def colour(index: int) -> str:
    return f"m{min(index, COLOURS)}"


def button(model: ModelStatus) -> Button | None:
    """
    stopped    Load
    starting   Cancel
    ready      Unload
    stopping   none: nothing to do but wait
    failed     Try again
    """
    return {
        State.STOPPED: Button("load", "Load"),
        State.STARTING: Button("unload", "Cancel"),
        State.READY: Button("unload", "Unload"),
        State.STOPPING: None,
        State.FAILED: Button("load", "Try again"),
    }[model.state]


def is_down(model: ModelStatus) -> bool:
    """Whether an action that failed is still the news: nobody has loaded the model since."""
    return model.state in (State.STOPPED, State.FAILED)


def idle(model: ModelStatus) -> str:
    if model.pinned:
        return "pinned"
    if model.state is not State.READY:
        return ""
    if math.isinf(model.idle_timeout_s):
        return "stays loaded"
    if model.idle_s is None:
        return "in use"
    return f"unloads in {duration(max(0.0, model.idle_timeout_s - model.idle_s))}"
