"""`<seed:think>…</seed:think>`: Seed-OSS."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<seed:think>", "</seed:think>"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
