"""How long a model stays after a request: `keep_alive` as Ollama's clients say it, and LM Studio's
`ttl`. Every dialect takes both.

Sources: https://github.com/ollama/ollama/blob/main/docs/api.md,
https://lmstudio.ai/docs/developer/core/ttl-and-auto-evict
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..protocol.errors import BadRequest
from .body import convert

FOREVER_S = 365 * 24 * 3600.0  # a longer keep_alive means: until somebody unloads it
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?P<sign>[-+]?)(?P<parts>(?:[0-9.]+(?:ns|us|µs|ms|s|m|h))+)")
_PART = re.compile(r"(?P<number>[0-9.]+)(?P<unit>ns|us|µs|ms|s|m|h)")
KEPT = ("keep_alive", "ttl")  # the fields read here


class _Fields(msgspec.Struct, kw_only=True):
    keep_alive: float | str | None = None
    ttl: float | None = None  # seconds


def read_kept(raw: Mapping[str, Any]) -> float | None:
    """What the body says, in seconds; math.inf for ever, None for the model's own idle timeout.
    Raises BadRequest."""
    if not raw.keys() & set(KEPT):
        return None
    fields = convert(raw, _Fields)
    if fields.keep_alive is not None:
        return read_keep_alive(fields.keep_alive)
    if fields.ttl is not None and fields.ttl < 0:
        raise BadRequest("ttl must be a number of seconds, at least 0.", param="ttl")
    return read_keep_alive(fields.ttl)


def read_keep_alive(value: float | str | None) -> float | None:
    """Seconds; math.inf for ever. A number is seconds, a text "5m", "1h30m" or "300ms"; anything
    negative is for ever. Raises BadRequest."""
    if value is None or isinstance(value, int | float):
        seconds = value
    elif re.fullmatch(r"[-+]?\d+", value, re.ASCII):
        seconds = float(value)
    else:
        seconds = _duration_s(value)
    if seconds is None:
        return None
    return math.inf if seconds < 0 or seconds > FOREVER_S else float(seconds)


def _duration_s(text: str) -> float:
    """As Go's time.ParseDuration reads it."""
    found = _DURATION.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        parts = _PART.finditer(found["parts"])
        seconds = sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)
    except ValueError:
        raise BadRequest(
            'keep_alive must be seconds or a duration such as "5m" or "1h30m"; -1 is for ever.',
            param="keep_alive",
        ) from None
    return -seconds if found["sign"] == "-" else seconds
