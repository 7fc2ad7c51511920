"""What the machine is doing, as far as it says so without privileges."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import psutil

IOREG = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
_GPU = re.compile(r'"Device Utilization %"\s*=\s*(\d+)')
_GPU_MEMORY = re.compile(r'"In use system memory"\s*=\s*(\d+)')
GPU_S = 2.0  # patience with ioreg


class Machine(NamedTuple):
    """At one moment."""

    cpu: float  # percent of all cores, since the last look
    used_bytes: int
    total_bytes: int
    gpu: int | None = None  # percent; None where nobody says
    gpu_bytes: int | None = None  # of memory that the GPU uses


def look(ask: Callable[[], str] | None = None) -> Machine:
    """`ask` gives ioreg's text; by default only macOS is asked. The first look knows no CPU."""
    memory = psutil.virtual_memory()
    if ask is None:
        ask = _ioreg if sys.platform == "darwin" else str
    gpu, gpu_bytes = read_gpu(ask())
    return Machine(
        psutil.cpu_percent(), memory.total - memory.available, memory.total, gpu, gpu_bytes
    )


def read_gpu(printed: str) -> tuple[int | None, int | None]:
    """Percent and bytes in what `ioreg -c IOAccelerator` prints; of several GPUs the busiest."""
    percents = [int(each) for each in _GPU.findall(printed)]
    sizes = [int(each) for each in _GPU_MEMORY.findall(printed)]
    return max(percents, default=None), max(sizes, default=None)


def _ioreg() -> str:
    try:
        done = subprocess.run(
            IOREG, capture_output=True, text=True, errors="replace", timeout=GPU_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
