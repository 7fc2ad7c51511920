"""`<function name="f"><param name="k">v</param></function>`, values perhaps in CDATA: MiniCPM5."""

from __future__ import annotations

from functools import partial

import regex

from ..held_calls import Around
from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

OPEN, CLOSE = "<function name=", "</function>"
MARKERS = (OPEN,)

_STYLE = TagStyle(
    regex.compile(r"""\s*<param\s+name=["']?(?P<key>[^"'<>]{1,256})["']?\s*>"""),
    "</param>",
    regex.compile(rf"\s*{CLOSE}"),
    cdata=True,
)


def detect(chat_template: str) -> bool:
    return '<function name="' in chat_template and '<param name="' in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(r"""["']?(?P<name>[^"'<>\s]{1,256})["']?\s*>"""),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        ends=(CLOSE,),
    )


FORMS = (
    Form(TagCall('"%s">', '<param name="%s">', "</param>", "", CLOSE), OPEN, between=f"\n{OPEN}"),
)
AROUND = Around(after="""["']?[^"'<>\\s]+["']?\\s*>""")

EXAMPLES = (
    Example(
        '<function name="f"><param name="a"><![CDATA[<b>\n]]></param><param name="n">2</param>'
        "</function>",
        calls=(Call("f", '{"a": "<b>\\n", "n": 2}'),),
        tools=(tool("f", a="string", n="number"),),
    ),
    Example('<function name="f"></function>\nSo.', text="So.", calls=(Call("f", "{}"),)),
    Example("The tag <function name=>", text="The tag <function name=>"),
)
