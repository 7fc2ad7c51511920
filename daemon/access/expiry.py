"""When a key ends, as people write it."""

from __future__ import annotations

import math
from datetime import datetime

from ...config.units import parse_duration
from ..protocol.errors import BadRequest


def expiry_ms(text: str | None, now_ms: int) -> int | None:
    """Milliseconds since the epoch of `30d` from now, or of the beginning of the day `2027-01-31`
    (or a time of it) in this machine's time zone; None for `never` and for nothing.

    Raises BadRequest for another text and for a moment that has gone.
    """
    text = (text or "").strip()
    if not text:
        return None
    try:
        at_ms = datetime.fromisoformat(text).timestamp() * 1000
    except (ValueError, OverflowError, OSError):
        try:
            at_ms = now_ms + parse_duration(text) * 1000
        except ValueError:
            said = f"expires: '{text[:100]}' is neither like 30d nor like 2027-01-31."
            raise BadRequest(said, param="expires") from None
    if math.isinf(at_ms):
        return None
    if at_ms <= now_ms:
        raise BadRequest("expires: that moment has gone.", param="expires")
    return int(at_ms)
