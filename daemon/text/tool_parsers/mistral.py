"""`[TOOL_CALLS]`, before a JSON list of calls (up to Mistral Small 3.1) or before each
`name[ARGS]{…}` (later; Magistral, Devstral)."""

from __future__ import annotations

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import NAME, CallFormat, Head
from ._json_calls import JSON_HEADS

OPEN, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
MARKERS = (OPEN, ARGS, CALL_ID)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            *JSON_HEADS,
            Head(
                regex.compile(
                    rf"\s*{NAME}\s*(?:\[CALL_ID\](?P<id>\w{{1,64}})\s*)?\[ARGS\]\s*(?=\{{)"
                )
            ),
        ),
        closes=(regex.compile(r"\s*\]"),),
    )


FORMS = (
    Form(json_call(f"%s{ARGS}"), OPEN, between=OPEN),
    Form(json_call('{"name": "%s", "arguments": ', "}"), f"{OPEN}[", "]", between=", "),
)
AROUND = Around(never=(ARGS,), after=r"\s*[\[,;{]")

EXAMPLES = (
    Example(
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]',
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example(
        'Ok.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}',
        text="Ok.",
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example('[TOOL_CALLS][{"arguments": {}, "name": "f"}]', calls=(Call("f", "{}"),)),
    Example('[TOOL_CALLS][{"name": "f", "arguments": {}, "id": "a1"}]', calls=(Call("f", "{}"),)),
    Example("[TOOL_CALLS] f", text="[TOOL_CALLS] f"),
    Example('[TOOL_CALLS]f[ARGS]{"a": "x', calls=(Call("f", '{"a": "x"}'),), completed=False),
)
