"""How short of memory the machine is, whoever uses it.

Sources: `kern.memorystatus_vm_pressure_level` of macOS (sys/event.h has the numbers), and
https://docs.kernel.org/accounting/psi.html
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
from enum import IntEnum
from pathlib import Path

STALLED = Path("/proc/pressure/memory")
# Share of the last 10 seconds, in percent, in which some, or all, tasks waited for memory.
SOME_STALL, FULL_STALL = 20.0, 10.0


class Level(IntEnum):
    """By macOS's numbers."""

    NORMAL = 1
    WARNING = 2  # the hot tier gives half of itself
    CRITICAL = 4  # the hot tier gives all, then idle models go, one after the other


def level() -> Level:
    """Now; NORMAL where the system does not say it."""
    if sys.platform == "darwin":
        return of_macos(_sysctl("kern.memorystatus_vm_pressure_level"))
    try:
        return of_linux(STALLED.read_text())
    except OSError:  # a kernel without it
        return Level.NORMAL


def of_macos(number: int) -> Level:
    return Level.CRITICAL if number >= 4 else Level.WARNING if number >= 2 else Level.NORMAL


def of_linux(text: str) -> Level:
    """Of the text of /proc/pressure/memory."""
    stalled = {
        kind: float(share) for kind, share in re.findall(r"^(\w+) avg10=([\d.]+)", text, re.M)
    }
    if stalled.get("full", 0.0) >= FULL_STALL:
        return Level.CRITICAL
    return Level.WARNING if stalled.get("some", 0.0) >= SOME_STALL else Level.NORMAL


def _sysctl(name: str) -> int:
    """0 when there is no such number."""
    number = ctypes.c_int(0)
    size = ctypes.c_size_t(ctypes.sizeof(number))
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    failed = library.sysctlbyname(
        name.encode(), ctypes.byref(number), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return 0 if failed else number.value
