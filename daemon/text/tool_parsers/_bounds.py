"""What a strict schema asks of a string beyond its type, for strings without quotation marks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import regex

BOUNDS = frozenset({"pattern", "minLength", "maxLength"})
_PART = regex.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|.", regex.DOTALL)


def bounds(schema: Mapping[str, Any]) -> list[str]:
    """Regular expressions, each of which matches all of the string. Raises ValueError for a pattern
    whose anchors cannot be taken away."""
    found: list[str] = []
    if isinstance(pattern := schema.get("pattern"), str):
        found.append(_whole(pattern))
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if least or most != "":
        found.append(f"(?s:.{{{least},{most}}})")
    return found


def _whole(pattern: str) -> str:
    """Of a text in which the pattern is found."""
    parts: list[str] = _PART.findall(pattern)
    begins, ends = parts[:1] == ["^"], parts[-1:] == ["$"]
    inner = parts[begins : len(parts) - ends]
    depth = 0
    either = False  # a choice that is not in brackets
    for part in inner:
        depth += (part == "(") - (part == ")")
        either |= part == "|" and depth == 0
    if {"^", "$"} & set(inner) or (either and (begins or ends)):
        raise ValueError(
            f"the pattern {pattern[:100]!r} cannot be held in this model's tool format"
        )
    any_ = "(?s:.*)"
    return f"{'' if begins else any_}(?:{''.join(inner)}){'' if ends else any_}"
