"""How hard the model shall think, `reasoning_effort`, in the terms of its chat template.

A template that knows the word gets the level, or the next one that it knows. For others a level is
a switch (none: no thinking) and a number of tokens after which the thinking is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

KEY = "reasoning_effort"
BUDGETS = {"minimal": 512, "low": 2048, "medium": 8192}  # tokens; more than that is not bounded
# level → what else comes near it, the nearest first
NEAREST = {
    "none": ("minimal", "low"),
    "minimal": ("low",),
    "low": ("minimal", "medium", "high"),
    "medium": ("high", "low"),
    "high": ("medium", "max"),
    "xhigh": ("max", "high"),
    "max": ("xhigh", "high"),
}
_USUAL = ("low", "medium", "high")  # understood without being named in the template
# The switches of chat templates: Qwen's and most others', DeepSeek's and Granite's.
THINK = {"enable_thinking": True, "thinking": True}
DO_NOT_THINK = {"enable_thinking": False, "thinking": False}


class Effort(NamedTuple):
    """What a level means to one template."""

    demanded: dict[str, Any]  # variables that go before those of the model's entry
    proposed: dict[str, Any]  # and behind them
    budget: int | None  # tokens, where the template leaves the amount of thinking open
    closed: bool = False  # there shall be no thinking


def effort(level: str, source: str, accepts: Callable[[Mapping[str, Any]], bool]) -> Effort:
    """`accepts` says whether the template renders with these variables. A level that nobody knows
    yet is the template's alone."""
    known = next((each for each in _candidates(level, source) if accepts({KEY: each})), None)
    demanded: dict[str, Any] = {} if known is None else {KEY: known}
    if level not in NEAREST:
        return Effort(demanded, {}, None)
    if level == "none":
        return Effort(demanded | DO_NOT_THINK, {}, None, closed=known is None)
    return Effort(demanded, THINK, None if known else BUDGETS.get(level))


def _candidates(level: str, source: str) -> list[str]:
    if KEY not in source:
        return []
    levels = (level, *NEAREST.get(level, ()))
    named = [each for each in levels if f"'{each}'" in source or f'"{each}"' in source]
    usual = [each for each in levels if each in _USUAL or each not in NEAREST]
    return sorted({*named, *usual}, key=levels.index)
