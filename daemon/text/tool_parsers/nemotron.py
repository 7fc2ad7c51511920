"""`<TOOLCALL>[{"name": …, "arguments": …}]</TOOLCALL>`: Llama-Nemotron and Nemotron-H."""

from __future__ import annotations

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN, CLOSE = "<TOOLCALL>", "</TOOLCALL>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat((OPEN,), JSON_HEADS, closes=json_closes(CLOSE), ends=(CLOSE,))


FORMS = (
    Form(json_call('{"name": "%s", "arguments": ', "}"), f"{OPEN}[", f"]{CLOSE}", between=", "),
)

EXAMPLES = (
    Example(
        '<TOOLCALL>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]'
        "</TOOLCALL>So.",
        text="So.",
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example("<TOOLCALL>[]</TOOLCALL>", text="<TOOLCALL>[]</TOOLCALL>"),
)
