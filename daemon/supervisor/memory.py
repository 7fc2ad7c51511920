"""The books of memory: what each engine is counted with, and what is left."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import psutil

K = TypeVar("K", bound=Hashable)

AUTO_SHARE = 0.75  # what macOS lets the GPU wire by default on machines with 36 GB and more


def total_bytes() -> int:
    """Physical memory of this machine."""
    return psutil.virtual_memory().total


def auto_limit_bytes() -> int:
    """`memory.limit: auto`."""
    return int(total_bytes() * AUTO_SHARE)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def readable(size_bytes: int) -> str:
    """`1.5 GiB`, `320 MiB`: for messages."""
    if size_bytes >= 1024**3:
        return f"{size_bytes / 1024**3:.1f} GiB"
    return f"{max(size_bytes, 0) / 1024**2:.0f} MiB"


class Ledger(Generic[K]):
    """Who is counted with how many bytes.

    An engine is counted from the decision to start it until its process is gone, with the larger
    of what was estimated and what it reports: an estimate holds its place while the model still
    loads, and a KV cache that grew beyond it is not given away a second time.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._estimates: dict[K, int] = {}
        self._measured: dict[K, int] = {}

    def reserve(self, key: K, estimate_bytes: int) -> None:
        self._estimates[key] = estimate_bytes
        self._measured.pop(key, None)

    def measure(self, key: K, measured_bytes: int) -> None:
        """What the engine reports; ignored when it is not in the books."""
        if key in self._estimates:
            self._measured[key] = measured_bytes

    def release(self, key: K) -> None:
        self._estimates.pop(key, None)
        self._measured.pop(key, None)

    def counted(self, key: K) -> int:
        return max(self._estimates.get(key, 0), self._measured.get(key, 0))

    def holders(self) -> list[K]:
        return list(self._estimates)

    @property
    def used_bytes(self) -> int:
        return sum(self.counted(key) for key in self._estimates)
