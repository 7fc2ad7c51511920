"""`<|tool_call>call:f{a:<|"|>text<|"|>,b:1}<tool_call|>`: Gemma 4. Read when complete."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._braces import brace_calls
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._python_grammar import brace_call

OPEN, CLOSE, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
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
        'A<|tool_call>call:f{a:<|"|>x, "{y}"<|"|>,b:[1,true],c:{d:null}}<tool_call|>',
        text="A",
        calls=(Call("f", '{"a": "x, \\"{y}\\"", "b": [1, true], "c": {"d": null}}'),),
    ),
    Example(
        "<|tool_call>call:f{}<tool_call|><|tool_call>call:g{}<tool_call|>",
        calls=(Call("f", "{}"), Call("g", "{}")),
    ),
    Example("<|tool_call>call:f{a:1}", calls=(Call("f", '{"a": 1}'),)),
    Example("<|tool_call>call:f{a:<tool_call|>", text="<|tool_call>call:f{a:<tool_call|>"),
)
