"""The answer is a JSON list of calls, perhaps in a Markdown fence: xLAM 2."""

from __future__ import annotations

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

MARKERS = ("```json",)
MARKS = ()


def detect(chat_template: str) -> bool:
    return "xlam" in chat_template.lower()


class Parser(CallParser):
    format = CallFormat(
        MARKERS,
        JSON_HEADS,
        closes=json_closes("```"),
        bare=regex.compile(r'\s*(?=\[\s*\{\s*"name"\s*:)'),
    )


_FENCED = '```json\n[{"name": "'
FORMS = (
    Form(json_call('{"name": "%s", "arguments": ', "}"), "[", "]", between=", "),
    Form(
        json_call('%s", "arguments": ', "}"),
        _FENCED,
        "]\n```",
        between=', {"name": "',
        demanded=False,
    ),
)
AROUND = Around(
    starts=(_FENCED,),
    never_like=r'```json\s*\[?\s*\{(?s:.*)"name"\s*:\s*"%s"',
    first=r'\[\s*\{\s*"name"\s*:((?s:.*)"name"\s*:)?\s*"%s"',
)

EXAMPLES = (
    Example(
        '[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]',
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example(
        'So:\n```json\n[{"name": "f", "arguments": {}}]\n```', text="So:", calls=(Call("f", "{}"),)
    ),
    Example("```json\n[1]\n```", text="```json\n[1]\n```"),
    Example("[1, 2]", text="[1, 2]"),
)
