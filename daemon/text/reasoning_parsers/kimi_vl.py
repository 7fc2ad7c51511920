"""`◁think▷…◁/think▷`: Kimi-VL-Thinking."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "◁think▷", "◁/think▷"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
