"""`<longcat_think>…</longcat_think>`: LongCat-Flash-Thinking."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<longcat_think>", "</longcat_think>"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
