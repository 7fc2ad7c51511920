"""Which engines make room for another. Pure decision: no logging, no clock, no processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .memory import readable


class Holder(NamedTuple):
    """An engine that holds memory."""

    name: str
    size_bytes: int
    last_used: float  # any clock; smaller is longer ago
    kept_by: str | None  # why it cannot go ("2 running", "pinned", "starting"); None: it can


def choose(holders: Sequence[Holder], need_bytes: int, limit_bytes: int) -> list[int] | None:
    """Positions in `holders` of the engines to stop so that `need_bytes` more fit in `limit_bytes`.

    The least recently used go first, and none goes that need not. An empty list: it fits as it is.
    None: it does not fit, whoever goes.
    """
    excess = sum(h.size_bytes for h in holders) + need_bytes - limit_bytes
    chosen: list[int] = []
    for i in sorted(range(len(holders)), key=lambda i: holders[i].last_used):
        if excess <= 0:
            break
        if holders[i].kept_by is None and holders[i].size_bytes > 0:
            chosen.append(i)
            excess -= holders[i].size_bytes
    if excess > 0:
        return None
    # A large one chosen last may have made smaller ones needless: spare the most recently used.
    for i in reversed(chosen[:-1]):
        if excess + holders[i].size_bytes <= 0:
            chosen.remove(i)
            excess += holders[i].size_bytes
    return chosen


def explain(name: str, need_bytes: int, limit_bytes: int, holders: Sequence[Holder]) -> str:
    """Why `choose` found no room for `name`: who holds what, and why it cannot go."""
    held = "; ".join(
        f"{h.name} holds {readable(h.size_bytes)} ({h.kept_by or 'idle'})"
        for h in sorted(holders, key=lambda h: -h.size_bytes)
    )
    return (
        f"There is no memory for {name} now: it needs {readable(need_bytes)}, the limit is "
        f"{readable(limit_bytes)} for all models. {held}."
    )
