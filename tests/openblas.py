"""OpenBLAS under MLX on Linux, for the tests and the benchmarks.

MLX's Linux wheel links the reference BLAS: 2 to 6 GFLOP/s, and a row's result does not depend on
the batch around it, bit for bit, as it does on every other backend. Preloading Debian's OpenBLAS
(package libopenblas0-pthread) makes matrix products 25 to 50 times faster and rounds as devices do.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

CHOSEN = "FASTMLX_BLAS"  # set in the process that was started again, and in its children


def library() -> Path | None:
    """The library to preload, or None where there is none or none is needed."""
    if sys.platform != "linux":
        return None
    return next(iter(sorted(Path("/usr/lib").glob("*/openblas-pthread/libblas.so.3"))), None)


def wanted() -> bool:
    """Whether this process should start itself again."""
    return CHOSEN not in os.environ and library() is not None


def start_again() -> NoReturn:
    """Replaces this process by itself with the library preloaded and one BLAS thread.

    Child processes inherit both. Call only when `wanted()`.
    """
    preload = filter(None, [str(library()), os.environ.get("LD_PRELOAD")])
    environment = os.environ | {
        CHOSEN: "OpenBLAS, 1 thread",
        "LD_PRELOAD": " ".join(preload),
        "OPENBLAS_NUM_THREADS": "1",
    }
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def described() -> str:
    """What computes matrix products here, for headers of reports."""
    return os.environ.get(CHOSEN, "as MLX was built")


def plain_environment() -> dict[str, str]:
    """The environment as users have it: without the preload, with compiled modules kept."""
    ours = (CHOSEN, "LD_PRELOAD", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in ours}
