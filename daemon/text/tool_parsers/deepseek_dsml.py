"""`<｜DSML｜function_calls><｜DSML｜invoke name="f"><｜DSML｜parameter name="k" string="true">v…`:
DeepSeek V3.2 and, with `tool_calls` for `function_calls`, V4. `string="false"` marks JSON."""

from __future__ import annotations

from functools import partial

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Head
from ._tag_grammar import TagCall
from ._tags import TagArguments, TagStyle

_D = "｜DSML｜"
STARTS = (f"<{_D}function_calls>", f"<{_D}tool_calls>")
CLOSES = (f"</{_D}function_calls>", f"</{_D}tool_calls>")
MARKERS = (*STARTS, *CLOSES, _D)

_STYLE = TagStyle(
    regex.compile(
        rf'\s*<{_D}parameter\s+name="(?P<key>[^"<>]{{1,256}})"'
        rf'(?:\s+string="(?P<string>true|false)")?\s*>'
    ),
    f"</{_D}parameter>",
    regex.compile(rf"\s*</{_D}invoke>"),
)


def detect(chat_template: str) -> bool:
    return _D in chat_template


class Parser(CallParser):
    format = CallFormat(
        STARTS,
        (
            Head(
                regex.compile(rf'\s*<{_D}invoke\s+name="(?P<name>[^"<>]{{1,256}})"\s*>'),
                reader=partial(TagArguments, _STYLE),
            ),
        ),
        closes=(regex.compile(rf"\s*</{_D}(?:function|tool)_calls>"),),
        ends=(f"</{_D}invoke>", *CLOSES),
    )


_CALL = TagCall(
    f'<{_D}invoke name="%s">\n',
    f'<{_D}parameter name="%s" string="%k">',
    f"</{_D}parameter>",
    "\n",
    f"</{_D}invoke>",
    kinds=("true", "false"),
)
MARKS = (_D,)
FORMS = tuple(
    Form(_CALL, f"{opening}\n", f"\n{closing}", between="\n")
    for opening, closing in zip(STARTS, CLOSES, strict=True)
)

EXAMPLES = (
    Example(
        f'<{_D}function_calls>\n<{_D}invoke name="f">\n<{_D}parameter name="a" string="true">1'
        f'</{_D}parameter><{_D}parameter name="b" string="false">2</{_D}parameter>\n</{_D}invoke>\n'
        f"</{_D}function_calls>",
        calls=(Call("f", '{"a": "1", "b": 2}'),),
    ),
    Example(
        f'A\n\n<{_D}tool_calls><{_D}invoke name="f"></{_D}invoke></{_D}tool_calls>',
        text="A",
        calls=(Call("f", "{}"),),
    ),
    Example(f"<{_D}tool_calls>x", text=f"<{_D}tool_calls>x"),
)
