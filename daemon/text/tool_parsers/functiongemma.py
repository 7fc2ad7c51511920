"""`<start_function_call>call:f{a:<escape>text<escape>}<end_function_call>`: FunctionGemma.
Read when complete."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._braces import brace_calls
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._python_grammar import brace_call

OPEN, CLOSE, QUOTE = "<start_function_call>", "<end_function_call>", "<escape>"
MARKERS = (OPEN, CLOSE, QUOTE)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,), (Whole(regex.compile(""), CLOSE, partial(brace_calls, quote=QUOTE)),)
    )


FORMS = (Form(brace_call(QUOTE), OPEN, CLOSE, between=CLOSE + OPEN),)

EXAMPLES = (
    Example(
        "<start_function_call>call:f{a:<escape>x:y<escape>,n:-2.5}<end_function_call>",
        calls=(Call("f", '{"a": "x:y", "n": -2.5}'),),
    ),
    Example("<start_function_call>no", text="<start_function_call>no"),
)
