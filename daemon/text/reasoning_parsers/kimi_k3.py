"""`<|open|>think<|sep|>…<|close|>think<|sep|>`: Kimi K3."""

from __future__ import annotations

from ._tags import tag_format

OPEN, CLOSE = "<|open|>think<|sep|>", "<|close|>think<|sep|>"
MARKERS = ("<|open|>", "<|close|>", "<|sep|>")
detect, Parser, EXAMPLES = tag_format(OPEN, CLOSE)
