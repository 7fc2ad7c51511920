"""The menu-bar item: the daemon's status → its title and its menu. Pure; `menubar` draws it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Verb = Literal["load", "unload", "dashboard", "restart", "start", "quit"]


class Action(NamedTuple):
    """What a click does."""

    verb: Verb
    model: str = ""


class Item(NamedTuple):
    """One line; without an action it only tells, without a text it is a line between."""

    text: str
    action: Action | None = None
    checked: bool = False


class Menu(NamedTuple):
    title: str  # in the menu bar
    items: tuple[Item, ...]


BETWEEN = Item("")
MARKS = {"ready": "●", "starting": "◐", "stopping": "◐", "failed": "⚠", "stopped": "○"}


def menu(status: dict[str, Any] | None, problem: str | None = None) -> Menu:
    """`status` is `GET /api/status`; None: no daemon answers. `problem`: of the last click."""
    last = (Item("Quit this menu", Action("quit")),)
    said = (Item(f"⚠ {_short(problem)}"), BETWEEN) if problem else ()
    if status is None:
        return Menu(
            "mlx –",
            (
                *said,
                Item("fastmlx does not run"),
                Item("Start", Action("start")),
                BETWEEN,
                *last,
            ),
        )
    models = status["models"]
    rate = sum(model["tokens_per_s"] for model in models)
    return Menu(
        _title(models, rate),
        (
            *said,
            Item(_summary(models, rate)),
            *_troubles(status),
            BETWEEN,
            *map(_model, models),
            BETWEEN,
            Item("Open dashboard", Action("dashboard")),
            Item("Restart", Action("restart")),
            BETWEEN,
            *last,
        ),
    )


def _title(models: list[dict[str, Any]], rate: float) -> str:
    if any(model["state"] == "failed" for model in models):
        return "mlx ⚠"
    if rate >= 0.05:
        return f"mlx {rate:.0f} t/s" if rate >= 10 else f"mlx {rate:.1f} t/s"
    if any(model["state"] == "starting" for model in models):
        return "mlx ◐"
    return "mlx ●" if any(model["state"] == "ready" for model in models) else "mlx ○"


def _summary(models: list[dict[str, Any]], rate: float) -> str:
    running = sum(model["requests_running"] for model in models)
    waiting = sum(model["requests_waiting"] for model in models)
    if not running and not waiting:
        return "idle"
    return f"{running} running, {waiting} waiting, {rate:.1f} tokens/s"


def _troubles(status: dict[str, Any]) -> list[Item]:
    error = status["config"]["error"]
    return [] if error is None else [Item(f"⚠ {_short(error['text'])}")]


def _model(model: dict[str, Any]) -> Item:
    """A loaded model is unloaded by a click, another one loaded; one that is under way waits."""
    state = model["state"]
    details = []
    if model["memory_bytes"]:
        details.append(f"{model['memory_bytes'] / 1024**3:.1f} GiB")
    if loading := model["loading"]:
        details.append(f"{loading['stage']} {loading['fraction']:.0%}")
    elif state not in ("ready", "stopped"):
        details.append(state)
    text = f"{MARKS.get(state, '○')} {model['name']}"
    text = f"{text}  ({', '.join(details)})" if details else text
    if state == "ready":
        return Item(text, Action("unload", model["name"]), checked=True)
    if state in ("stopped", "failed"):
        return Item(text, Action("load", model["name"]))
    return Item(text)


def _short(text: str) -> str:
    """For one line of a menu."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 80 else line[:79] + "…"
