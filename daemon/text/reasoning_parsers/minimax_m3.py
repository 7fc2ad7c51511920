"""`<mm:think>…</mm:think>`: MiniMax M3."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<mm:think>", "</mm:think>"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
