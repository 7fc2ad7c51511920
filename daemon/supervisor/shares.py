"""How the memory for all models is divided among the engines that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class MemoryShares:
    """Tells every running engine what it may use, whenever that changes."""

    def __init__(self, ledger: Ledger[Model], models: Mapping[str, Model]) -> None:
        """Both are the supervisor's, as they are at any time."""
        self._ledger = ledger
        self._models = models
        self._told: dict[str, tuple[wire.Ready, int]] = {}

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
        told: dict[str, tuple[wire.Ready, int]] = {}
        for (model, ready), limit_bytes in zip(running, allowed, strict=True):
            known, before = self._told.get(model.name, (None, 0))
            more = limit_bytes - before
            if known is ready and 0 <= more < STEP * ledger.limit_bytes:
                limit_bytes = before
            elif known is not ready or more:
                model.engine.tell(wire.MemoryLimit(limit_bytes))
            told[model.name] = (ready, limit_bytes)
        self._told = told
