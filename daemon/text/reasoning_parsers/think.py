"""`<think>…</think>`: Qwen3, DeepSeek-R1, Nemotron, GLM, MiniMax and many others."""

from __future__ import annotations

from ..parsing import Example
from ._tags import tag_format

OPEN, CLOSE = "<think>", "</think>"
MARKERS = (OPEN, CLOSE)
END = f"\n{CLOSE}\n\n"
detect, Parser, _ = tag_format(OPEN, CLOSE)

EXAMPLES = (
    Example("Hello.", text="Hello."),
    Example("\n\nHello.\n", text="\n\nHello.\n"),
    Example("<think>\nEasy.\n</think>\n\nFour.", reasoning="Easy.", text="Four."),
    Example("\n<think>Easy.</think>Four.\n", reasoning="Easy.", text="Four.\n"),
    Example("Easy.\n\nSo:\n</think>\n\nFour.", opened=True, reasoning="Easy.\n\nSo:", text="Four."),
    Example("<think>\n\n</think>\n\nFour.", text="Four."),
    Example("\n</think>\n\nFour.", opened=True, text="Four."),
    Example("<think>\nIs 1 </t> 2", reasoning="Is 1 </t> 2"),
    Example("Cut off </thi", opened=True, reasoning="Cut off </thi"),
    Example("Cut off\n\n", opened=True, reasoning="Cut off\n\n"),
    Example("<think>\na</think>", reasoning="a"),
    Example("<think>\na <think> b</think>\nc", reasoning="a <think> b", text="c"),
    Example(
        "The tag <think> opens, </think> closes.", text="The tag <think> opens, </think> closes."
    ),
    Example("<thi", text="<thi"),
    Example("<thinking>no</thinking>", text="<thinking>no</thinking>"),
    Example(" \n", text=" \n"),
    Example("", text=""),
)
