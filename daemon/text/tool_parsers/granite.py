"""`<|tool_call|>[{"name": …, "arguments": …}]`, or `<tool_call>` before the list: Granite 3.
Granite 4 writes hermes."""

from __future__ import annotations

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN = "<|tool_call|>"
MARKERS = (OPEN, "<tool_call>")


def detect(chat_template: str) -> bool:
    return OPEN in chat_template and "<|start_of_role|>" in chat_template


class Parser(CallParser):
    format = CallFormat(MARKERS, JSON_HEADS, closes=json_closes())


_CALL = json_call('{"name": "%s", "arguments": ', "}")
FORMS = (
    Form(_CALL, f"{OPEN}[", "]", between=", "),
    Form(_CALL, "<tool_call>[", "]", between=", ", demanded=False),
)

EXAMPLES = (
    Example(
        '<|tool_call|>[{"name": "f", "arguments": {"a": 1}},{"name":"g","arguments":{}}]',
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example('<tool_call> [{"name": "f", "arguments": {}}] ', calls=(Call("f", "{}"),)),
    Example("<|tool_call|>[1]", text="<|tool_call|>[1]"),
)
