""" "Here is my thought process: … Here is my response:", in plain words: Granite 3.2."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "Here is my thought process:", "Here is my response:"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
