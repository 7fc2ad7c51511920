"""`<|START_THINKING|>…<|END_THINKING|>`: Command A Reasoning."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<|START_THINKING|>", "<|END_THINKING|>"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
