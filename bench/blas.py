"""Which BLAS a benchmark runs on: every script calls `choose()` before mlx is imported."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import openblas


def choose() -> str:
    """Makes sure that OpenBLAS is preloaded where there is one; may start the script again.

    Returns what computes matrix products.
    """
    if openblas.wanted():
        openblas.start_again()
    return openblas.described()
