"""`<atem:function_calls><atem:invoke name="f"><atem:parameter name="k">v</atem:parameter>…`:
Muse Spark. Values are JSON or else text."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<atem:function_calls>", "</atem:function_calls>"
MARKERS = (OPEN, CLOSE)

_STYLE = TagStyle(
    regex.compile(r'\s*<atem:parameter(?:\s[^<>]*?)?\sname="(?P<key>[^"<>]{1,256})"[^<>]*>'),
    "</atem:parameter>",
    regex.compile(r"\s*</atem:invoke>"),
)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(
                    r'\s*<atem:invoke(?:\s[^<>]*?)?\sname="(?P<name>[^"<>]{1,256})"[^<>]*>'
                ),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=("</atem:invoke>", CLOSE),
    )


_CALL = TagCall(
    '<atem:invoke name="%s">\n',
    '<atem:parameter name="%s">',
    "</atem:parameter>",
    "\n",
    "</atem:invoke>",
)
FORMS = (Form(_CALL, f"{OPEN}\n", f"\n{CLOSE}", between="\n"),)

EXAMPLES = (
    Example(
        '<atem:function_calls><atem:invoke name="f"><atem:parameter name="a">[1]</atem:parameter>'
        "</atem:invoke></atem:function_calls>",
        calls=(Call("f", '{"a": [1]}'),),
    ),
    Example("<atem:function_calls>", text="<atem:function_calls>"),
)
