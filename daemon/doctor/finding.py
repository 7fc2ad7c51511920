"""What a check of `fastmlx doctor` found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warning", "fault"]


class Finding(NamedTuple):
    """One line."""

    name: str  # of the check
    state: State
    text: str  # what is so
    remedy: str = ""  # what to do about it; "" when all is well


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


def warning(name: str, text: str, remedy: str) -> Finding:
    return Finding(name, "warning", text, remedy)


def fault(name: str, text: str, remedy: str) -> Finding:
    return Finding(name, "fault", text, remedy)
