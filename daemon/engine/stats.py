"""The engine's books as the front sees them, sent when they changed and not too often."""

from __future__ import annotations

import mlx.core as mx

from ..protocol.wire import Stats
from .core import EngineCore

INTERVAL_S = 0.5


class StatsReporter:
    """Decides when the next Stats message is due."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core
        self._last: Stats | None = None
        self._last_at_s = float("-inf")

    def due(self, now_s: float) -> Stats | None:
        """The message to send now, or None. An engine that turned idle reports at once."""
        core = self._core
        turned_idle = core.idle and self._last is not None and self._last.running > 0
        if now_s - self._last_at_s < INTERVAL_S and not turned_idle:
            return None
        self._last_at_s = now_s
        stats = Stats(
            running=core.num_running,
            waiting=core.num_waiting,
            memory_bytes=mx.get_active_memory(),
            peak_memory_bytes=mx.get_peak_memory(),
            kv_bytes=core.kv_bytes,
            kv_tokens=core.kv_tokens,
            steps=core.steps,
            output_tokens=core.output_tokens,
            prompt_tokens=core.prompt_tokens,
            short=core.scheduler.short,
            preemptions=core.scheduler.preemptions,
            prefills=core.prefills(),
            cache=core.reuse.cache.stats() if core.reuse is not None else None,
            limit_bytes=core.share.limit_bytes if core.share is not None else None,
        )
        core.scheduler.short = False
        if stats == self._last:
            return None
        self._last = stats
        return stats
