"""The prefix cache's settings → what each engine is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..protocol import wire
from .pressure import Level

if TYPE_CHECKING:
    from .model import Model


class CachePlan(NamedTuple):
    """What all engines together may use."""

    hot_bytes: int
    cold_bytes: int
    write_budget_bytes: int | None  # a day; None: any amount
    directory: Path


def spared(hot_bytes: int, level: Level) -> int:
    """What of the hot tier is left under pressure. Pure."""
    match level:
        case Level.NORMAL:
            return hot_bytes
        case Level.WARNING:
            return hot_bytes // 2
        case Level.CRITICAL:
            return min(hot_bytes, 1)  # not 0, with which nobody wants the tier


class CacheShares:
    """Divides the hot tier evenly among the engines that run, and tells them when that changes."""

    def __init__(
        self, plan: CachePlan, models: Mapping[str, Model], restart: Callable[[Model], None]
    ) -> None:
        """`models` are the supervisor's, as they are at any time."""
        self.plan = plan
        self.pressure = Level.NORMAL
        self._models = models
        self._restart = restart
        self._told: dict[str, tuple[wire.Ready, wire.CacheLimits]] = {}

    def set(self, plan: CachePlan) -> None:
        """Other limits from now on. Another directory is for engines to come: those that run
        finish their requests and start again."""
        moved = plan.directory != self.plan.directory
        self.plan = plan
        if moved:
            for model in self._models.values():
                self._restart(model)
        self.tell()

    def set_pressure(self, level: Level) -> None:
        """How much of the plan's hot tier there is for a while: all, half or none."""
        self.pressure = level
        self.tell()

    def load(self, message: wire.Load) -> wire.Load:
        """The message with what the engine that it starts may use beside the others."""
        limits = self._limits(1 + len(self._running()))
        if message.distributed is not None:
            # The parts of a split model would lie under the same names.
            return msgspec.structs.replace(message, hot_bytes=limits.hot_bytes)
        return msgspec.structs.replace(
            message,
            hot_bytes=limits.hot_bytes,
            cache_directory=str(self.plan.directory),
            cold_bytes=limits.cold_bytes,
            write_budget_bytes=limits.write_budget_bytes,
        )

    def tell(self) -> None:
        """Tells every running engine its limits, unless it knows them."""
        running = self._running()
        limits = self._limits(len(running))
        for model, ready in running:
            known, before = self._told.get(model.name, (None, None))
            if known is not ready or before != limits:  # an engine that started again was told less
                model.engine.tell(limits)
        self._told = {model.name: (ready, limits) for model, ready in running}

    def clear(self, name: str | None, order: wire.ClearCache) -> None:
        """Tells the engine of this model, or all engines, what to forget."""
        for model, _ in self._running():
            if name in (None, model.name):
                model.engine.tell(order)

    def stats(self) -> dict[str, wire.CacheStats]:
        """By name, of the engines that said something of theirs."""
        said = {model.name: model.engine.stats for model, _ in self._running()}
        return {name: stats.cache for name, stats in said.items() if stats and stats.cache}

    def _running(self) -> list[tuple[Model, wire.Ready]]:
        ready = ((model, model.engine.ready) for model in self._models.values())
        return [(model, said) for model, said in ready if said is not None]

    def _limits(self, engines: int) -> wire.CacheLimits:
        """For each of so many engines."""
        plan = self.plan
        hot_bytes = spared(plan.hot_bytes // max(1, engines), self.pressure)
        return wire.CacheLimits(hot_bytes, plan.cold_bytes, plan.write_budget_bytes)
