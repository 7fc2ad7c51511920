"""`<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`:
Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5 and others. Models forget the outer tag at times."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import NAME, CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTION = "<function="
MARKERS = (OPEN, CLOSE)

STYLE = TagStyle(
    regex.compile(r"\s*<parameter=(?P<key>[^<>\n]{1,256})>"),
    "</parameter>",
    regex.compile(r"\s*</function>"),
    newlines=True,
)


def detect(chat_template: str) -> bool:
    return FUNCTION in chat_template and "<parameter=" in chat_template and OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN, FUNCTION),
        (
            Head(
                regex.compile(rf"\s*(?:<function=)?{NAME}\s*>"), reader=partial(TagArguments, STYLE)
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=(CLOSE,),
    )


CALL = TagCall(
    "<function=%s>\n",
    "<parameter=%s>\n",
    "</parameter>",
    "\n",
    "</function>",
    pad="\n",
    newlines=True,
)
FORMS = (
    Form(CALL, f"{OPEN}\n", f"\n{CLOSE}", between=f"\n{CLOSE}\n{OPEN}\n"),
    Form(CALL._replace(before="%s>\n"), FUNCTION, f"\n{CLOSE}", demanded=False),
)

_TOOLS = (tool("w", city="string", days="integer", x=None),)

EXAMPLES = (
    Example("No <b>call</b>\n", text="No <b>call</b>\n"),
    Example(
        "Hm.\n<tool_call>\n<function=w>\n<parameter=city>\nSan\nJosé\n</parameter>\n"
        "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
        text="Hm.",
        calls=(Call("w", '{"city": "San\\nJosé", "days": 2}'),),
        tools=_TOOLS,
    ),
    Example("<tool_call><function=f></function></tool_call>", calls=(Call("f", "{}"),)),
    Example(  # the outer tag forgotten, two calls
        "<function=f></function>\n<function=g></function>", calls=(Call("f", "{}"), Call("g", "{}"))
    ),
    Example(
        '<function=w><parameter=x>{"a": [1]}</parameter></function></tool_call>So.',
        text="So.",
        calls=(Call("w", '{"x": {"a": [1]}}'),),
        tools=_TOOLS,
    ),
    Example(  # what the schema cannot take stays text
        "<function=w><parameter=days>two</parameter></function>",
        calls=(Call("w", '{"days": "two"}'),),
        tools=_TOOLS,
    ),
    Example(
        '<function=w><parameter=city>"a" </par',
        calls=(Call("w", '{"city": "\\"a\\" "}'),),
        tools=_TOOLS,
        completed=False,
    ),
    Example("A <function=> b", text="A <function=> b"),
    Example("<tool_call>no</tool_call>", text="<tool_call>no</tool_call>"),
)
