"""Which BLAS a benchmark runs on, and how much of mlx-lm it imports: every script calls
`choose()` before mlx and mlx-lm are imported."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import openblas
from fastmlx.daemon.engine import lean


def choose() -> str:
    """Makes sure that OpenBLAS is preloaded where there is one; may start the script again. mlx-lm
    then comes as engines have it, without transformers.

    Returns what computes matrix products.
    """
    if openblas.wanted():
        openblas.start_again()
    lean.install()
    return openblas.described()
