"""Which name was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(wrong: str, names: Iterable[str]) -> str | None:
    """ "did you mean 'idle_timeout'?", or None when nothing is near."""
    near = difflib.get_close_matches(wrong.lower()[:100], list(names), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else None
