"""`<|channel>thought … <channel|>`: Gemma 4."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<|channel>thought", "<channel|>"
MARKERS = ("<|channel>", CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
