"""`<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{…}…`:
Kimi K2. The model's own ids are kept: its template shows them to it again."""

from __future__ import annotations

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat, Head

OPEN, CLOSE = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, ARGUMENTS, CALL_END = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)
MARKERS = (OPEN, CLOSE, CALL, ARGUMENTS, CALL_END)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(
                    rf"\s*{regex.escape(CALL)}\s*"
                    r"(?P<id>(?:functions\.)?(?P<name>[\w.-]{1,256}?)(?::\d{1,9})?)"
                    rf"\s*{regex.escape(ARGUMENTS)}"
                ),
                tail=regex.compile(rf"\s*{regex.escape(CALL_END)}"),
            ),
        ),
        closes=(regex.compile(rf"\s*{regex.escape(CLOSE)}"),),
        ends=(CALL_END, CLOSE),
    )


FORMS = (Form(json_call(f"{CALL}functions.%s:%d{ARGUMENTS}", CALL_END), OPEN, CLOSE, between=""),)

EXAMPLES = (
    Example(
        f'Hm {OPEN}{CALL}functions.f:0{ARGUMENTS}{{"a": 1}}{CALL_END}'
        f"{CALL}functions.g.h:1{ARGUMENTS}{{}}{CALL_END}{CLOSE}",
        text="Hm",
        calls=(Call("f", '{"a": 1}'), Call("g.h", "{}")),
    ),
    Example(f"{OPEN}{CALL}f:0{ARGUMENTS}{{}}", calls=(Call("f", "{}"),)),
    Example(f"{OPEN}{CALL}", text=f"{OPEN}{CALL}"),
)
