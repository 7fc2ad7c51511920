""" "Here is my thought process: … Here is my response:", in plain words: Granite 3.2."""

from __future__ import annotations

from ._tags import TagParser, examples

OPEN, CLOSE = "Here is my thought process:", "Here is my response:"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser(TagParser):
    OPEN, CLOSE = OPEN, CLOSE


EXAMPLES = examples(OPEN, CLOSE)
