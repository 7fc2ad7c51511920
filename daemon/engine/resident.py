"""Gives freed memory back to the system, where the C library would keep it.

MLX's CPU backend allocates with malloc, and glibc keeps what was freed: a process would seem to
need, and would hold, as much as it ever did. Metal's buffers are MLX's own business.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

SLACK_BYTES = 8 << 20  # not worth the trouble


class Resident:
    """Compares what is resident with what arrays hold."""

    def __init__(self) -> None:
        """To be made when the engine is ready: what it has then beside its arrays, it needs."""
        self._trim = _malloc_trim()
        self._needed_bytes = self._beside_bytes() if self._trim else 0
        self._stays_bytes = 0  # after the last time that it was given back

    def tidy(self) -> int:
        """Gives back what can be; returns the bytes beyond arrays and needs that stay, as they lie
        between what is in use. What MLX keeps for reuse is none of them: its own limit counts it,
        and it gives way to arrays."""
        if self._trim is None:
            return 0
        beyond_bytes = self._beside_bytes() - self._needed_bytes
        if beyond_bytes > self._stays_bytes + SLACK_BYTES:
            self._trim()
            beyond_bytes = self._stays_bytes = self._beside_bytes() - self._needed_bytes
        return max(0, beyond_bytes - mx.get_cache_memory())

    @staticmethod
    def _beside_bytes() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") - mx.get_active_memory()


def _malloc_trim() -> Callable[[], object] | None:
    """glibc's; None elsewhere."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if function is None else lambda: function(ctypes.c_size_t(0))
