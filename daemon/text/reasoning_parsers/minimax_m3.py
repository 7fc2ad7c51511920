"""`<mm:think>…</mm:think>`: MiniMax M3."""

from __future__ import annotations

from ..parsing import Example
from ._tags import TagParser

OPEN, CLOSE = "<mm:think>", "</mm:think>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser(TagParser):
    OPEN, CLOSE = OPEN, CLOSE


EXAMPLES = (
    Example(f"{OPEN}\nEasy.\n{CLOSE}\n\nFour.", reasoning="Easy.", text="Four."),
    Example(f"Easy.{CLOSE}Four.", opened=True, reasoning="Easy.", text="Four."),
    Example(f"Not {OPEN} here {CLOSE}.", text=f"Not {OPEN} here {CLOSE}."),
)
