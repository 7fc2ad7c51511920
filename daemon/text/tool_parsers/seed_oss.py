"""`<seed:tool_call><function=name><parameter=key>value</parameter></function></seed:tool_call>`:
Seed-OSS."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import NAME, CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments
from .qwen3_coder import STYLE

OPEN, CLOSE = "<seed:tool_call>", "</seed:tool_call>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (Head(regex.compile(rf"\s*<function={NAME}\s*>"), reader=partial(TagArguments, STYLE)),),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=(CLOSE,),
    )


_CALL = TagCall(
    "<function=%s>\n", "<parameter=%s>", "</parameter>", "\n", "</function>", newlines=True
)
FORMS = (Form(_CALL, f"{OPEN}\n", f"\n{CLOSE}", between="\n"),)

EXAMPLES = (
    Example(
        "<seed:tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>\n</seed:tool_call>\n",
        calls=(Call("f", '{"a": "1"}'),),
        tools=(tool("f", a="string"),),
    ),
    Example(
        "Ok <seed:tool_call><function=f></function></seed:tool_call> so",
        text="Okso",
        calls=(Call("f", "{}"),),
    ),
    Example("<seed:tool_call>x", text="<seed:tool_call>x"),
)
