"""`<minimax:tool_call><invoke name="f"><parameter name="k">v</parameter></invoke>…`: MiniMax M2."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<minimax:tool_call>", "</minimax:tool_call>"
MARKERS = (OPEN, CLOSE)

_STYLE = TagStyle(
    regex.compile(r"""\s*<parameter\s+name=["']?(?P<key>[^"'<>]{1,256})["']?\s*>"""),
    "</parameter>",
    regex.compile(r"\s*</invoke>"),
    newlines=True,
)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(r"""\s*<invoke\s+name=["']?(?P<name>[^"'<>]{1,256})["']?\s*>"""),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=("</invoke>", CLOSE),
    )


_CALL = TagCall(
    '<invoke name="%s">\n',
    '<parameter name="%s">',
    "</parameter>",
    "\n",
    "</invoke>",
    newlines=True,
)
FORMS = (Form(_CALL, f"{OPEN}\n", f"\n{CLOSE}", between="\n"),)

EXAMPLES = (
    Example(
        '<minimax:tool_call>\n<invoke name="f">\n<parameter name="a">1\n2</parameter>\n</invoke>\n'
        '<invoke name="g">\n</invoke>\n</minimax:tool_call>',
        calls=(Call("f", '{"a": "1\\n2"}'), Call("g", "{}")),
        tools=(tool("f", a="string"),),
    ),
    Example(
        '<minimax:tool_call><invoke name="f">oops</invoke></minimax:tool_call>Sorry.',
        text="Sorry.",
        calls=(Call("f", "{}"),),
        completed=False,
    ),
    Example("a <minimax:tool_call> b", text="a <minimax:tool_call> b"),
)
