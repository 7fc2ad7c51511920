"""`<|open|>think<|sep|>…<|close|>think<|sep|>`: Kimi K3."""

from __future__ import annotations

from ._tags import TagParser, examples

OPEN, CLOSE = "<|open|>think<|sep|>", "<|close|>think<|sep|>"
MARKERS = ("<|open|>", "<|close|>", "<|sep|>")


def detect(chat_template: str) -> bool:
    return CLOSE in chat_template


class Parser(TagParser):
    OPEN, CLOSE = OPEN, CLOSE


EXAMPLES = examples(OPEN, CLOSE)
