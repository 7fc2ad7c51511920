"""How the memory for all models is divided among the engines that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocol import wire
from .memory import Ledger

if TYPE_CHECKING:
    from .model import Model

# An engine is told a limit that differs by less than this share of all memory only when it shrinks.
STEP = 0.01


def allowances(limit_bytes: int, counted: Sequence[int], others_bytes: int) -> list[int]:
    """What each engine may use: what it is `counted` with, and an equal part of what is free; when
    too much is in use, all give back in proportion. `others_bytes` are counted with engines that
    cannot be told. The sum never exceeds the limit (unless the others alone do). Pure."""
    used = sum(counted)
    free = limit_bytes - others_bytes - used
    if free < 0:
        share = max(0, used + free) / used if used else 0.0
        return [int(each * share) for each in counted]
    return [each + free // len(counted) for each in counted]


def within(
    limit_bytes: int,
    allowed: Sequence[int],
    held: Sequence[int],
) -> list[int]:
    """What each is told now, when each may hold as much as in `held`. Those that have to shrink are
    told at once; the others grow towards what they are `allowed`, as far as nobody may still hold
    it. Pure."""
    free = limit_bytes - sum(held)
    limits: list[int] = []
    for wanted, has in zip(allowed, held, strict=True):
        more = max(0, min(wanted - has, free))
        free -= more
        limits.append(min(wanted, has + more))
    return limits


@dataclass(slots=True)
class Told:
    """What an engine was told."""

    ready: wire.Ready  # in which of its lives
    limit_bytes: int
    most_bytes: int  # that it may still hold, as it has not said that it keeps to less
    is_new: bool = True


class MemoryShares:
    """Tells every running engine what it may use, whenever that changes. What one gives back is
    another's when the first has said that it keeps to its new limit, not before."""

    def __init__(self, ledger: Ledger[Model], models: Mapping[str, Model]) -> None:
        """Both are the supervisor's, as they are at any time."""
        self._ledger = ledger
        self._models = models
        self._told: dict[str, Told] = {}

    def tell(self) -> None:
        running: list[tuple[Model, wire.Ready]] = []
        for model in self._models.values():
            ready = model.engine.ready
            # The parts of a split model must all decide alike.
            if ready is not None and model.declared.spec.distributed is None:
                running.append((model, ready))
        ledger = self._ledger
        counted = [ledger.counted(model) for model, _ in running]
        others_bytes = ledger.used_bytes - sum(counted)
        allowed = allowances(ledger.limit_bytes, counted, others_bytes)
        told = [
            self._heard(model, ready, size, wanted)
            for (model, ready), size, wanted in zip(running, counted, allowed, strict=True)
        ]
        held = [max(each.most_bytes, size) for each, size in zip(told, counted, strict=True)]
        limits = within(ledger.limit_bytes - others_bytes, allowed, held)
        for (model, _), each, limit_bytes in zip(running, told, limits, strict=True):
            more = limit_bytes - each.limit_bytes
            if each.is_new or more < 0 or more >= STEP * ledger.limit_bytes:
                model.engine.tell(wire.MemoryLimit(limit_bytes))
                each.is_new = False
                each.limit_bytes = limit_bytes
                each.most_bytes = max(each.most_bytes, limit_bytes)
        self._told = {model.name: each for (model, _), each in zip(running, told, strict=True)}

    def _heard(self, model: Model, ready: wire.Ready, size: int, wanted: int) -> Told:
        """What it was told until now; a new engine has what it was started for."""
        told = self._told.get(model.name)
        if told is None or told.ready is not ready:
            return Told(ready, size, size)
        stats = model.engine.stats
        if stats is None or stats.limit_bytes is None:  # believed to do at once what it is told
            told.most_bytes = min(told.limit_bytes, wanted)
        elif stats.limit_bytes <= told.limit_bytes:  # less: it ran out of memory with as much
            told.most_bytes = told.limit_bytes
        return told
