"""Figures and tables for people."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import TextIO

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(num_bytes: float) -> str:
    """`1.5 GiB`"""
    step = 0
    while num_bytes >= 1024 and step < len(_UNITS) - 1:
        num_bytes, step = num_bytes / 1024, step + 1
    return f"{num_bytes:.0f} {_UNITS[step]}" if step == 0 else f"{num_bytes:.1f} {_UNITS[step]}"


def duration(seconds: float | None) -> str:
    """The two largest units: `2h 5m`; `never` for infinity, `-` for None."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "never"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count}{unit}" for count, unit in parts[:2] if count) or "0s"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def harmless(text: str) -> str:
    """Without the control characters by which a text could drive the terminal; keeps line breaks
    and tabs."""
    return _CONTROL.sub("", text)


def has_colours(stream: TextIO) -> bool:
    """A terminal that is not told otherwise (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
