"""Tokens per second over the last few seconds, counted cheaply."""

from __future__ import annotations

import time

WINDOW_S = 5


class Rate:
    """A ring of one-second buckets: adding costs a clock call and two list accesses."""

    __slots__ = ("_counts", "_seconds", "total")

    def __init__(self) -> None:
        self.total = 0
        self._counts = [0] * WINDOW_S
        self._seconds = [-WINDOW_S] * WINDOW_S  # which second each bucket holds

    def add(self, count: int, now_s: float | None = None) -> None:
        second = int(time.monotonic() if now_s is None else now_s)
        slot = second % WINDOW_S
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self._counts[slot] = 0
        self._counts[slot] += count
        self.total += count

    def per_s(self, now_s: float | None = None) -> float:
        """Mean over the window; its last second counts as far as it has gone."""
        now = time.monotonic() if now_s is None else now_s
        oldest = int(now) - WINDOW_S + 1
        recent = [
            (s, c) for s, c in zip(self._seconds, self._counts, strict=True) if s >= oldest and c
        ]
        if not recent:
            return 0.0
        # From the first busy second on: a stream that has just begun is not averaged with silence.
        elapsed = now - min(second for second, _ in recent)
        return sum(count for _, count in recent) / max(1.0, elapsed)
