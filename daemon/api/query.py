"""Numbers in the query of an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..protocol.errors import BadRequest

MAX_DIGITS = 9


def number(query: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """Of a query such as `request.args`. Raises BadRequest for what is no number, or out of its
    range."""
    given = str(query.get(name, default))
    digits = given.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
    if not is_number or not least <= int(given) <= most:
        raise BadRequest(f"{name}: a number from {least} to {most} is required.", param=name)
    return int(given)
