"""`<|tool_call_start|>[f(a=1), g()]<|tool_call_end|>`: LFM2. Read when complete."""

from __future__ import annotations

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._python import python_calls
from ._python_grammar import python_call

OPEN, CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template or "<|tool_list_start|>" in chat_template


class Parser(CallParser):
    format = CallFormat((OPEN,), (Whole(regex.compile(""), CLOSE, python_calls),))


FORMS = (Form(python_call, f"{OPEN}[", f"]{CLOSE}", between=", "),)

EXAMPLES = (
    Example(
        'Hm.\n<|tool_call_start|>[f(a=1, b="x", c=[true]), g()]<|tool_call_end|>So.',
        text="Hm.So.",
        calls=(Call("f", '{"a": 1, "b": "x", "c": [true]}'), Call("g", "{}")),
    ),
    Example("<|tool_call_start|>[f(a=1)]", calls=(Call("f", '{"a": 1}'),)),
    Example(
        "<|tool_call_start|>f(<|tool_call_end|>", text="<|tool_call_start|>f(<|tool_call_end|>"
    ),
)
