"""Numbers as people read them. Each is a filter of the templates; None is always a dash."""

from __future__ import annotations

import math
from datetime import datetime

NONE = "–"


def size(num_bytes: float | None) -> str:
    """`1.23 GiB`, `320 MiB`."""
    if num_bytes is None:
        return NONE
    if not num_bytes:
        return "0"
    value, unit = float(num_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < (1024 if unit != "bytes" else 999.5):
            break
        value, unit = value / 1024, larger
    return f"{_three_digits(value) if unit != 'bytes' else round(value)} {unit}"


def count(number: float | None) -> str:
    """`9,999`, `12.3k`, `4.56M`."""
    if number is None:
        return NONE
    if round(number) < 10_000:
        return f"{round(number):,}"
    value, unit = float(number), ""
    for larger in ("k", "M", "G", "T"):
        # 999,960 has three digits as 1.00M, not as 1000k.
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return _three_digits(value) + unit


def counted(number: float, noun: str) -> str:
    """1 → "1 request"; 1234 → "1,234 requests"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def rate(number: float | None) -> str:
    """`0.4`, `37.2`, `1,234`: per second."""
    if number is None:
        return NONE
    return f"{number:,.0f}" if number >= 99.95 or not number else f"{number:.1f}"


def duration(seconds: float | None) -> str:
    """`35 s`, `12 min`, `2 h 5 min`, `3 d 4 h`; `never` for infinity."""
    if seconds is None:
        return NONE
    if math.isinf(seconds):
        return "never"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    return _two(minutes // (24 * 60), "d", minutes // 60 % 24, "h")


def milliseconds(ms: float | None) -> str:
    """`85 ms`, `1.24 s`, `2 min`: a measured time."""
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 9.95 or not ms else f"{ms:.1f} ms"
    return f"{_three_digits(ms / 1000)} s" if ms < 60_000 else duration(ms / 1000)


def percent(fraction: float | None) -> str:
    """`12%`."""
    return NONE if fraction is None else f"{fraction * 100:.0f}%"


def clock(at_ms: float, now: datetime | None = None) -> str:
    """`14:05:12` today, `20 Nov 14:05` before: local time of this machine."""
    at = datetime.fromtimestamp(at_ms / 1000)
    if at.date() == (now or datetime.now()).date():
        return at.strftime("%H:%M:%S")
    return f"{at.day} {at.strftime('%b %H:%M')}"


def moment(text: str, now: datetime | None = None) -> str:
    """`14:05:12.123` today, `20 Nov 14:05:12` before, of a time in ISO 8601; others as they are."""
    try:
        at = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        return text
    if at.date() == (now or datetime.now()).date():
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"
    return f"{at.day} {at:%b %H:%M:%S}"


def iso(at_ms: float) -> str:
    """For the `datetime` attribute of `<time>`."""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(timespec="milliseconds")


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
