"""How large a thing becomes, before it is made: bounds for templates, which are anybody's.

A list may hold another one twice, and that one a third one twice: forty of them are a text of a
million millions characters, and are compared for as long. So what is to become a text, or to be
compared, is looked through first. Pure, but for `tick`, which looks at the clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

MAX_LENGTH = 32_000_000  # characters, or items of a list; ten million tokens
MAX_ITEMS = 200_000  # of all lists within a list together
MAX_WIDTH = 10_000  # that a text is filled up to, or indented by
MAX_BITS = 1024  # of a number
MAX_STEPS = 1_000_000_000  # of what cannot be interrupted: characters compared, items copied

_WIDE = re.compile(r"\d{5}|\*")  # in a format, a width of five digits or one that is an argument
_INNER = re.compile(r":[^{}]*\{")  # a width that comes from an argument within the braces
_HOLDERS = (list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))


def fits(length: int) -> None:
    """A text or list of this length may be made."""
    if length > MAX_LENGTH:
        raise SecurityError(f"a text or list of it is longer than {MAX_LENGTH:,}")


def narrow(*widths: Any) -> None:
    """Texts may be filled up to these."""
    if any(isinstance(width, int | float) and abs(width) > MAX_WIDTH for width in widths):
        raise SecurityError("that text is too wide")


def small(*numbers: Any) -> None:
    """These may be multiplied."""
    if any(isinstance(number, int) and number.bit_length() > MAX_BITS for number in numbers):
        raise SecurityError("that number is too large")


def power(left: Any, right: Any) -> None:
    """`left ** right` may be computed."""
    if not (isinstance(right, int | float) and abs(right) <= MAX_BITS):
        raise SecurityError("that number is too large")
    small(left)
    if isinstance(left, int) and left.bit_length() * abs(right) > 4 * MAX_BITS:
        raise SecurityError("that number is too large")


def product(left: Any, right: Any) -> None:
    """`left * right` may be computed: of numbers, or of a text or list and a number."""
    if isinstance(left, int | float) and isinstance(right, int | float):
        return small(left, right)
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            return fits(len(many) * times)
    raise SecurityError("these cannot be multiplied")


def weight(value: Any) -> int:
    """Characters that a value is as a text, about; for texts and numbers it costs nothing."""
    if isinstance(value, str):
        return len(value)
    length = items = 0
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            length += len(each)
            continue
        if each is None or isinstance(each, int):
            continue
        inside = _inside(each)
        if inside is None:
            length += 8
            continue
        left += inside
        items += len(inside)
        if items > MAX_ITEMS:
            raise SecurityError(f"a list of it has more than {MAX_ITEMS:,} items")
        fits(length)
    fits(length)
    return length + items


def _inside(value: Any) -> list[Any] | None:
    """What a value holds; None where it holds nothing."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, _HOLDERS):
        return [*value]
    if isinstance(value, Namespace):
        return [*vars(value).values()]
    return None


def comparable(left: Any, right: Any) -> None:
    """These may be compared, or the one looked for in the other."""
    if isinstance(left, str) and isinstance(right, str):
        return
    pair = [_inside(left), _inside(right)]
    if pair == [None, None]:
        return
    heavy = weight(left), weight(right)
    if min(heavy) * max(map(len, (each for each in pair if each is not None))) > MAX_STEPS:
        raise SecurityError("that takes too long to compare")


def formattable(text: str, values: Iterable[Any]) -> None:
    """`text` may be filled with these values."""
    places = text.count("%") + text.count("{")
    if not places:
        return
    longest = max(map(weight, values), default=0)
    if any(digit in text for digit in "0123456789"):
        longest = max(longest, MAX_WIDTH)
    fits(len(text) + places * longest)
    if _WIDE.search(text) or _INNER.search(text):
        raise SecurityError("that text is too wide")


def joined(items: list[Any], between: str) -> None:
    """The texts among `items` may be joined."""
    fits(sum(map(weight, items)) + len(items) * len(between))


def replaced(text: str, old: str, new: str) -> None:
    """`old` may be replaced."""
    fits(len(text) + text.count(old) * len(new))


def summed(items: list[Any], start: Any) -> None:
    """`sum(items, start)` may be computed: lists are copied for each of them."""
    if isinstance(start, int | float):
        return
    lengths = (len(each) if isinstance(each, str | list | tuple) else 1 for each in items)
    if len(items) * sum(lengths) > MAX_STEPS:
        raise SecurityError("that takes too long to add")


def listed(value: Iterable[Any], tick: Callable[[], None]) -> list[Any]:
    """The items, which may come from anywhere and be many."""
    items: list[Any] = []
    for item in value:
        items.append(item)
        if not len(items) % 1000:
            tick()
            fits(len(items))
    return items
