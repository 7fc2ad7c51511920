"""`<|tool_call|>[{"type": "function", "function": {…}}]<|/tool_call|>` or `functools[{…}]`:
Phi-4-mini."""

from __future__ import annotations

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN, CLOSE = "<|tool_call|>", "<|/tool_call|>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    """Its template names the tools only."""
    return "<|tool|>" in chat_template and "<|/tool|>" in chat_template


class Parser(CallParser):
    format = CallFormat((OPEN, "functools["), JSON_HEADS, closes=json_closes(CLOSE), ends=(CLOSE,))


_CALL = json_call('{"name": "%s", "arguments": ', "}")
FORMS = (
    Form(_CALL, f"{OPEN}[", f"]{CLOSE}", between=", "),
    Form(_CALL, "functools[", "]", between=", "),
)

EXAMPLES = (
    Example(
        '<|tool_call|>[{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]'
        "<|/tool_call|>",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example(
        'functools[{"name": "f", "arguments": {"a": 1}}] So.',
        text="So.",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example("functools[1]", text="functools[1]"),
)
