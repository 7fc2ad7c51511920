"""`<｜tool_calls_begin｜>…<steptml:invoke name="f"><steptml:parameter name="k">v…`: Step 3.
(Step 3.5 writes as Qwen3-Coder does.)"""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<｜tool_calls_begin｜>", "<｜tool_calls_end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool_call_begin｜>", "<｜tool_sep｜>", "<｜tool_call_end｜>"
MARKERS = (OPEN, CLOSE, CALL, SEPARATOR, CALL_END)

_STYLE = TagStyle(
    regex.compile(r'\s*<steptml:parameter\s+name="(?P<key>[^"<>]{1,256})"\s*>'),
    "</steptml:parameter>",
    regex.compile(r"\s*</steptml:invoke>"),
)


def detect(chat_template: str) -> bool:
    return "steptml:" in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(
                    rf"\s*(?:{CALL})?\s*(?:function)?\s*(?:{SEPARATOR})?\s*"
                    r'<steptml:invoke\s+name="(?P<name>[^"<>]{1,256})"\s*>'
                ),
                tail=regex.compile(rf"\s*{CALL_END}"),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=(CALL_END, CLOSE),
    )


_WRITTEN = TagCall(
    f'{CALL}function{SEPARATOR}<steptml:invoke name="%s">',
    '<steptml:parameter name="%s">',
    "</steptml:parameter>",
    "",
    f"</steptml:invoke>{CALL_END}",
)
FORMS = (Form(_WRITTEN, OPEN, CLOSE, between=""),)

EXAMPLES = (
    Example(
        f'{OPEN}{CALL}function{SEPARATOR}<steptml:invoke name="f"><steptml:parameter name="a">1'
        f"</steptml:parameter></steptml:invoke>{CALL_END}{CLOSE}",
        calls=(Call("f", '{"a": "1"}'),),
        tools=(tool("f", a="string"),),
    ),
    Example(f"{OPEN}x", text=f"{OPEN}x"),
)
