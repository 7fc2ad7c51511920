"""What the cold tier counts in one engine since it was loaded."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

# Upper bounds of the histogram of how long a read took, in seconds; one more bucket is above all.
READ_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class ColdStats:
    """Counters only grow; `queued_bytes`, `problem` and the directory's figures are of now."""

    read_blocks: int = 0
    read_bytes: int = 0
    reads: int = 0  # tickets
    read_seconds: float = 0.0  # of all tickets
    read_histogram: tuple[int, ...] = (0,) * (len(READ_BUCKETS_S) + 1)  # tickets, by READ_BUCKETS_S
    written_blocks: int = 0
    written_bytes: int = 0
    dropped_blocks: int = 0  # the queue was full, or the tier was off
    over_budget_blocks: int = 0  # refused by the day's write budget
    no_room_blocks: int = 0  # refused by the size limit
    failed_blocks: int = 0  # could not be written
    evicted_blocks: int = 0
    bad_blocks: int = 0  # files that were torn or foreign, found when they were read
    queued_bytes: int = 0
    directory_bytes: int = 0  # everything in the directory, of all models
    directory_blocks: int = 0
    written_today_bytes: int = 0  # by all engines
    limit_bytes: int = 0
    problem: str | None = None  # why the tier is off at the moment


@dataclass(slots=True)
class Counters:
    """The same while it changes, by several threads."""

    _now: ColdStats = field(default_factory=ColdStats)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **amounts: int) -> None:
        with self._lock:
            new: dict[str, Any] = {
                name: getattr(self._now, name) + n for name, n in amounts.items()
            }
            self._now = replace(self._now, **new)

    def set(self, **values: Any) -> None:
        with self._lock:
            self._now = replace(self._now, **values)

    def observe_read(self, seconds: float) -> None:
        """One ticket was done after so long."""
        bucket = sum(seconds > bound for bound in READ_BUCKETS_S)
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
