"""What the cold tier counts in one engine, by several threads."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Any

from msgspec.structs import replace

from ....protocol.wire import READ_BUCKETS_S, ColdStats


class Counters:
    """The present `ColdStats`; every change replaces it."""

    def __init__(self) -> None:
        self._now = ColdStats(read_histogram=(0,) * (len(READ_BUCKETS_S) + 1))
        self._lock = threading.Lock()

    def add(self, **amounts: int) -> None:
        with self._lock:
            sums: dict[str, Any] = {k: getattr(self._now, k) + n for k, n in amounts.items()}
            self._now = replace(self._now, **sums)

    def set(self, **values: Any) -> None:
        with self._lock:
            self._now = replace(self._now, **values)

    def observe_read(self, seconds: float) -> None:
        """One ticket was done after so long."""
        bucket = bisect_left(READ_BUCKETS_S, seconds)
        with self._lock:
            histogram = list(self._now.read_histogram)
            histogram[bucket] += 1
            self._now = replace(
                self._now,
                reads=self._now.reads + 1,
                read_seconds=self._now.read_seconds + seconds,
                read_histogram=tuple(histogram),
            )

    def now(self) -> ColdStats:
        with self._lock:
            return self._now
