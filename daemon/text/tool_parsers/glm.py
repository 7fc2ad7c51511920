"""`<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`: GLM 4.5 to 4.7,
Laguna."""

from __future__ import annotations

from functools import partial

import regex

from ..held_calls import Around
from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import NAME, CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MARKERS = (OPEN, CLOSE, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")

STYLE = TagStyle(
    regex.compile(r"\s*<arg_key>(?P<key>[^<>]{1,256})</arg_key>\s*<arg_value>"),
    "</arg_value>",
    regex.compile(rf"\s*{CLOSE}"),
)


def detect(chat_template: str) -> bool:
    return "<arg_key>" in chat_template and OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(rf"\s*{NAME}\s*(?=<arg_key>|{CLOSE})"),
                reader=partial(TagArguments, STYLE),
            ),
        ),
        ends=(CLOSE,),
    )


def _form(line: str) -> Form:
    call = TagCall(
        f"%s{line}",
        f"<arg_key>%s</arg_key>{line}<arg_value>",
        "</arg_value>",
        line,
        CLOSE,
    )
    return Form(call, OPEN, between=f"{line}{OPEN}")


FORMS = (_form("\n"), _form(""))  # up to 4.6, and from 4.7 on
AROUND = Around(never=("<arg_key>", CLOSE))

_TOOLS = (tool("w", city="string", days="integer"),)

EXAMPLES = (
    Example("Hello.", text="Hello."),
    Example(
        "So:\n<tool_call>w\n<arg_key>city</arg_key>\n<arg_value>Köln\n</arg_value>\n"
        "<arg_key>days</arg_key><arg_value>2</arg_value>\n</tool_call>",
        text="So:",
        calls=(Call("w", '{"city": "Köln\\n", "days": 2}'),),
        tools=_TOOLS,
    ),
    Example(
        "<tool_call>f</tool_call><tool_call>g</tool_call>Done",
        text="Done",
        calls=(Call("f", "{}"), Call("g", "{}")),
    ),
    Example(
        "<tool_call>w<arg_key>x</arg_key><arg_value>[1, {}]</arg_value></tool_call>",
        calls=(Call("w", '{"x": [1, {}]}'),),
        tools=_TOOLS,
    ),
    Example(
        "<tool_call>w<arg_key>city</arg_key><arg_value>Kö",
        calls=(Call("w", '{"city": "Kö"}'),),
        tools=_TOOLS,
        completed=False,
    ),
    Example("<tool_call>w<arg_", text="<tool_call>w<arg_"),
)
