"""Sizes and durations as people write them: `4GiB`, `500MB`, `25%`, `90s`, `15m`, `never`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

_BYTES = {"B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _BYTES[f"{_letter}B"] = 1000**_power
    _BYTES[f"{_letter}iB"] = 1024**_power
_UNIT_OF = {unit.lower(): unit for unit in _BYTES}

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_SECONDS["d"] = Decimal(86400)

_QUANTITY = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([A-Za-z%]*)")

_SIZE_FORM = "a size such as 4GiB, 500MB or 25%"
_DURATION_FORM = "a duration such as 90s, 15m, 2h or never"
_MAX_BYTES = 1 << 60  # an EiB; keeps every later sum within 64 bits
_MAX_SECONDS = 3650 * 86400  # ten years; what is meant to last longer is `never`


@dataclass(frozen=True)
class Size:
    """A number of bytes, or a share of something whose size is known later.

    Exactly one of `num_bytes` and `percent` (0 to 100) is set.
    """

    num_bytes: int | None = None
    percent: float | None = None

    def of(self, total_bytes: int) -> int:
        """The size in bytes, where `total_bytes` is what a percentage refers to."""
        if self.percent is None:
            return self.num_bytes or 0
        return int(total_bytes * self.percent / 100)

    @property
    def is_zero(self) -> bool:
        return not self.num_bytes and not self.percent

    def __str__(self) -> str:
        if self.percent is not None:
            return f"{self.percent:g}%"
        count = self.num_bytes or 0
        for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "KB"):
            if count and count % _BYTES[unit] == 0:
                return f"{count // _BYTES[unit]}{unit}"
        return f"{count}B" if count else "0"


def parse_size(value: Any) -> Size:
    """`value` as written → Size. Raises ValueError with a sentence for the user.

    A bare number is refused (but 0): nobody means 20 bytes of cache.
    """
    if isinstance(value, Size):
        return value
    number, unit = _quantity(value, _SIZE_FORM)
    if unit == "%":
        if number > 100:
            raise ValueError("must be at most 100%")
        return Size(percent=float(number))
    if not unit and number:
        raise ValueError(f"needs a unit: {_SIZE_FORM}")
    factor = _BYTES[_UNIT_OF[unit.lower()]] if unit.lower() in _UNIT_OF else 1 if not unit else None
    if factor is None:
        raise ValueError(f"has an unknown unit '{unit}'; it must be {_SIZE_FORM}")
    count = int(number * factor)
    if count > _MAX_BYTES:
        raise ValueError("is larger than any machine")
    return Size(num_bytes=count)


def parse_bytes(value: Any) -> int:
    """Like `parse_size`, for places where a percentage has no meaning."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        raise ValueError("needs a unit: a size such as 64MiB")
    size = parse_size(value)
    if size.num_bytes is None:
        raise ValueError("cannot be a percentage: a size such as 64MiB")
    return size.num_bytes


def parse_duration(value: Any) -> float:
    """`value` as written → seconds, `math.inf` for `never`. Raises ValueError."""
    if value == math.inf or (isinstance(value, str) and value.strip().lower() == "never"):
        return math.inf
    number, unit = _quantity(value, _DURATION_FORM)
    if not unit and number:
        raise ValueError(f"needs a unit: {_DURATION_FORM}")
    if unit and unit not in _SECONDS:
        raise ValueError(f"has an unknown unit '{unit}'; it must be {_DURATION_FORM}")
    seconds = float(number * _SECONDS[unit]) if unit else 0.0
    if seconds > _MAX_SECONDS:
        raise ValueError("is longer than ten years; say never")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back: `15m`, `90s`, `never`."""
    if math.isinf(seconds):
        return "never"
    for unit in ("d", "h", "m", "s"):
        size = float(_SECONDS[unit])
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s" if seconds else "0s"


def _quantity(value: Any, form: str) -> tuple[Decimal, str]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {form}")
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"must be {form}")
    return Decimal(match[1]), match[2]


SizeValue = Annotated[Size, PlainValidator(parse_size), PlainSerializer(str)]
Bytes = Annotated[int, PlainValidator(parse_bytes), PlainSerializer(lambda n: str(Size(n)))]
Seconds = Annotated[float, PlainValidator(parse_duration), PlainSerializer(format_duration)]
