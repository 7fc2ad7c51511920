"""How deep JSON nests: who reads it may recurse. Pure."""

from __future__ import annotations

from typing import Any


def is_deeper(text: bytes, value: Any, depth: int) -> bool:
    """Whether brackets nest more than `depth` levels in `value`, which was read from `text`."""
    # Most texts have too few brackets to nest so deeply, and need no look.
    if text.count(b"{") + text.count(b"[") <= depth:
        return False
    level = [value]
    while level and depth > 0:
        depth -= 1
        level = [
            inside
            for each in level
            for inside in (each.values() if type(each) is dict else each)
            if type(inside) is dict or type(inside) is list
        ]
    return bool(level)
