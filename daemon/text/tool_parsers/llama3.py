"""The answer is the call: `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`, several
with semicolons between: Llama 3.1 to 3.3."""

from __future__ import annotations

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN = "<|python_tag|>"
MARKERS = (OPEN,)


def detect(chat_template: str) -> bool:
    return "<|start_header_id|>" in chat_template and '"parameters"' in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        JSON_HEADS,
        closes=json_closes(),
        bare=regex.compile(r'\s*(?=\[?\s*\{\s*"(?:name|type)"\s*:)'),
    )


_CALL = json_call('{"name": "%s", "parameters": ', "}")
FORMS = (
    Form(_CALL, between="; "),
    Form(_CALL, OPEN, between="; ", demanded=False),
)
AROUND = Around(
    first=r'\[?\s*\{\s*"(name|type)"\s*:((?s:.*)"name"\s*:)?\s*"%s"', after=r"\s*[\[,;{]"
)

EXAMPLES = (
    Example(
        '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example(
        '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}',
        calls=(Call("f", "{}"),),
    ),
    Example('\n{"name": "f", "parameters": {"a', calls=(Call("f", "{}"),), completed=False),
    Example(  # half of a character
        '{"name": "f\\ud83d", "parameters": {"a": "\\ud83d"}}',
        calls=(Call("f\ufffd", '{"a": "\\ud83d"}'),),
    ),
    Example('{"name": "Bob", "age": 3}', text='{"name": "Bob", "age": 3}'),
    Example('{"a": 1}', text='{"a": 1}'),
    Example("See {", text="See {"),
    Example('{"na', text='{"na'),
)
