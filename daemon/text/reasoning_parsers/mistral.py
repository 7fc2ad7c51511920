"""`[THINK]…[/THINK]`: Magistral and other Mistral models that think."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "[THINK]", "[/THINK]"
MARKERS = (OPEN, CLOSE)
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
