"""`<longcat_tool_call>`, around GLM's tags with a prefix or around JSON: LongCat-Flash."""

from __future__ import annotations

from functools import partial

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import NAME, CallFormat, Head
from ._json_calls import JSON_HEADS
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<longcat_tool_call>", "</longcat_tool_call>"
MARKERS = (
    OPEN, CLOSE, "<longcat_arg_key>", "</longcat_arg_key>", "<longcat_arg_value>",
    "</longcat_arg_value>",
)  # fmt: skip

_STYLE = TagStyle(
    regex.compile(
        r"\s*<longcat_arg_key>(?P<key>[^<>]{1,256})</longcat_arg_key>\s*<longcat_arg_value>"
    ),
    "</longcat_arg_value>",
    regex.compile(rf"\s*{CLOSE}"),
)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            *JSON_HEADS,
            Head(
                regex.compile(rf"\s*{NAME}\s*(?=<longcat_arg_key>|{CLOSE})"),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=(CLOSE,),
    )


_KEY = "<longcat_arg_key>%s</longcat_arg_key>\n<longcat_arg_value>"
FORMS = (
    Form(TagCall("%s\n", _KEY, "</longcat_arg_value>", "\n", CLOSE), OPEN, between=f"\n{OPEN}"),
    Form(
        json_call('{"name": "%s", "arguments": ', "}"),
        f"{OPEN}\n",
        f"\n{CLOSE}",
        between=f"\n{CLOSE}\n{OPEN}\n",
    ),
)
AROUND = Around(never=("<longcat_arg_key>", CLOSE), after=r"\s*[\[,;{]")

EXAMPLES = (
    Example(
        "<longcat_tool_call>f\n<longcat_arg_key>a</longcat_arg_key>\n"
        "<longcat_arg_value>1</longcat_arg_value></longcat_tool_call>",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example(
        'A<longcat_tool_call>{"name": "f", "arguments": {"a": 1}}</longcat_tool_call>b',
        text="Ab",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example("<longcat_tool_call>?", text="<longcat_tool_call>?"),
)
