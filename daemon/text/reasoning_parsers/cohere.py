"""`<|START_THINKING|>…<|END_THINKING|>`: Command A Reasoning."""

from __future__ import annotations

from ._tags import TagParser, examples

OPEN, CLOSE = "<|START_THINKING|>", "<|END_THINKING|>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser(TagParser):
    OPEN, CLOSE = OPEN, CLOSE


EXAMPLES = examples(OPEN, CLOSE)
