"""`<|START_ACTION|>[{"tool_call_id": …, "tool_name": …, "parameters": …}]<|END_ACTION|>`:
Command R7B, Command A; older ones write `Action: ```json […]``` `."""

from __future__ import annotations

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN, CLOSE = "<|START_ACTION|>", "<|END_ACTION|>"
MARKERS = (OPEN, CLOSE)
OLDER = ("Action: ```json", "Action:```json")


def detect(chat_template: str) -> bool:
    return OPEN in chat_template or ("Action:" in chat_template and "tool_name" in chat_template)


class Parser(CallParser):
    format = CallFormat(
        (OPEN, *OLDER),
        JSON_HEADS,
        closes=json_closes(CLOSE, "```"),
        ends=(CLOSE, "```"),
    )


FORMS = (
    Form(
        json_call('    {"tool_call_id": "%d", "tool_name": "%s", "parameters": ', "}"),
        f"{OPEN}[\n",
        f"\n]{CLOSE}",
        between=",\n",
    ),
    *(
        Form(
            json_call('    {"tool_name": "%s", "parameters": ', "}"),
            f"{start}\n[\n",
            "\n]\n```",
            between=",\n",
            demanded=False,
        )
        for start in OLDER
    ),
)

EXAMPLES = (
    Example(
        '<|START_ACTION|>[\n {"tool_call_id": "0", "tool_name": "f", "parameters": {"a": 1}}\n]'
        "<|END_ACTION|>",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example(
        'Action: ```json\n[{"tool_name": "f", "parameters": {}}]\n```',
        calls=(Call("f", "{}"),),
    ),
    Example("Action: ```json\n[]```", text="Action: ```json\n[]```"),
)
