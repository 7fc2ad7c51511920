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
        self._beside_bytes = self._resident_beside() if self._trim else 0

    def tidy(self) -> None:
        """When much more is resident than is needed, it is given back."""
        if self._trim is None or self._resident_beside() <= self._beside_bytes + SLACK_BYTES:
            return
        self._trim()
        # What stays is in use, or between what is.
        self._beside_bytes = max(self._beside_bytes, self._resident_beside())

    @staticmethod
    def _resident_beside() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") - mx.get_active_memory()


def _malloc_trim() -> Callable[[], object] | None:
    """glibc's; None elsewhere."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if function is None else lambda: function(ctypes.c_size_t(0))
