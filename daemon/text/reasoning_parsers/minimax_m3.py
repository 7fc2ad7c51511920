"""`<mm:think>…</mm:think>`: MiniMax M3."""

from __future__ import annotations

from ._tags import TagParser, examples

OPEN, CLOSE = "<mm:think>", "</mm:think>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser(TagParser):
    OPEN, CLOSE = OPEN, CLOSE


EXAMPLES = examples(OPEN, CLOSE)
