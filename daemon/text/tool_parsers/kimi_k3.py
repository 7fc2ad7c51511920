"""`<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|>…`: Kimi K3, arguments one by one with
their types, or one JSON object."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<|open|>tools<|sep|>", "<|close|>tools<|sep|>"
MARKERS = ("<|open|>", "<|close|>", "<|sep|>")

_O, _C, _S = map(regex.escape, MARKERS)
_CALL = rf'\s*{_O}call(?:(?!<\|)[^"]|"[^"<>]*")*?\btool="(?P<name>[^"<>]{{1,256}})"[^<>]*{_S}'
_CALL_END = rf"\s*{_C}call{_S}"
_STYLE = TagStyle(
    regex.compile(
        rf'\s*{_O}argument\s+key="(?P<key>[^"<>]{{1,256}})"(?:\s+type="(?P<string>\w+)")?[^<>]*{_S}'
    ),
    "<|close|>argument<|sep|>",
    regex.compile(_CALL_END),
)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(rf"{_CALL}\s*{_O}json[^<>]*{_S}"),
                tail=regex.compile(rf"\s*{_C}json{_S}{_CALL_END}"),
            ),
            Head(regex.compile(_CALL), reader=partial(TagArguments, _STYLE)),
        ),
        closes=(regex.compile(rf"\s*{_C}tools{_S}"),),
        ends=("<|close|>call<|sep|>", CLOSE),
    )


_WRITTEN = TagCall(
    '<|open|>call tool="%s" index="%d"<|sep|>',
    '<|open|>argument key="%s" type="%k"<|sep|>',
    "<|close|>argument<|sep|>",
    "",
    "<|close|>call<|sep|>",
)
FORMS = (Form(_WRITTEN, OPEN, CLOSE, between=""),)

EXAMPLES = (
    Example(
        '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|open|>argument key="a" '
        'type="string"<|sep|>1<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
        calls=(Call("f", '{"a": "1"}'),),
    ),
    Example(
        '<|open|>tools<|sep|><|open|>call tool="f"<|sep|><|open|>json type="object"<|sep|>{"a": 1}'
        "<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>.",
        text=".",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example("<|open|>tools<|sep|>", text="<|open|>tools<|sep|>"),
)
