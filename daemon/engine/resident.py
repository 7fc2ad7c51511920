"""Gives freed memory back to the system, where the C library would keep it.

MLX's CPU backend allocates with malloc, and glibc keeps what was freed: a process would seem to
need, and would hold, as much as it ever did. While it computes it keeps what activations take, as
pages that come back from the system cost a fault each. Metal's buffers are MLX's own business.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

import mlx.core as mx

SLACK_BYTES = 8 << 20  # not worth the trouble
# glibc's mallopt (https://man7.org/linux/man-pages/man3/mallopt.3.html): arrays up to so many bytes
# come from the heap, which keeps some of what was freed at its end.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD, _MMAP_BYTES = -3, 32 << 20  # the most that it takes
KEPT_SHARE = 1 / 32  # of the limit
MOST_KEPT_BYTES = 64 << 20


class Resident:
    """Compares what is resident with what arrays hold."""

    def __init__(self) -> None:
        """To be made when the engine is ready: what it has then beside its arrays, it needs."""
        self._trim = _malloc_trim()
        self._statm = os.open("/proc/self/statm", os.O_RDONLY) if self._trim else -1
        self._needed_bytes = self._beside_bytes() if self._trim else 0
        self._stays_bytes = 0  # after the last time that it was given back

    def tidy(self, free_bytes: int) -> int:
        """Gives back what can be, where it is more than `free_bytes`: the system's pages come back
        only with a fault each. Returns the bytes beyond arrays and needs that stay, as they lie
        between what is in use. What MLX keeps for reuse is none of them: its own limit counts it,
        and it gives way to arrays."""
        if self._trim is None:
            return 0
        beyond_bytes = self._beside_bytes() - self._needed_bytes
        if beyond_bytes > max(self._stays_bytes + SLACK_BYTES, free_bytes):
            self._trim()
            beyond_bytes = self._stays_bytes = self._beside_bytes() - self._needed_bytes
        return max(0, beyond_bytes - mx.get_cache_memory())

    def bound(self, limit_bytes: int) -> None:
        """Says how much the process may use in all."""
        mallopt = _libc("mallopt")
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
            mallopt(_M_TRIM_THRESHOLD, min(MOST_KEPT_BYTES, int(limit_bytes * KEPT_SHARE)))

    def _beside_bytes(self) -> int:
        pages = int(os.pread(self._statm, 128, 0).split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") - mx.get_active_memory()


def _libc(name: str) -> Callable[..., object] | None:
    """A function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _malloc_trim() -> Callable[[], object] | None:
    function = _libc("malloc_trim")
    return None if function is None else lambda: function(ctypes.c_size_t(0))
