"""`<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes 2 Pro, Qwen2.5, Qwen3 and others.

Arguments are passed on while the model writes them, if the name stands before them as the templates
teach; otherwise the call is read as a whole. An end tag inside a JSON string does not end the call,
and a missing one is forgiven when the JSON is complete.

A block that is no call comes out as the text that it is. If its arguments were already on their way
when they went wrong, their JSON is closed so that it is valid, and the call does not count as
completed.
"""

from __future__ import annotations

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import CallFormat
from ._json_calls import JSON_HEADS, json_closes

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MARKERS = (OPEN, CLOSE)


def detect(chat_template: str) -> bool:
    """Templates that write the same tag around something else than this JSON are not ours."""
    others = ("<function=", "<arg_key>")
    ours = OPEN in chat_template and "arguments" in chat_template
    return ours and not any(other in chat_template for other in others)


class Parser(CallParser):
    format = CallFormat((OPEN,), JSON_HEADS, closes=json_closes(CLOSE), ends=(CLOSE,))


FORMS = (
    Form(
        json_call('{"name": "%s", "arguments": ', "}"),
        f"{OPEN}\n",
        f"\n{CLOSE}",
        between=f"\n{CLOSE}\n{OPEN}\n",
    ),
)

EXAMPLES = (
    Example("Hello <b>there</b>.\n", text="Hello <b>there</b>.\n"),
    Example(
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>',
        calls=(Call("weather", '{"city": "Paris", "days": 2}'),),
    ),
    Example(
        'Let me look.\n\n<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "b", "arguments": {"x": [1, {"y": null}]}}\n</tool_call>\n',
        text="Let me look.",
        calls=(Call("a", "{}"), Call("b", '{"x": [1, {"y": null}]}')),
    ),
    Example(
        '<tool_call>{"name":"a","arguments":{"n":-1.5e3}}</tool_call>\nDone.\n',
        text="Done.\n",
        calls=(Call("a", '{"n":-1.5e3}'),),
    ),
    Example(
        '<tool_call>\n{"arguments": {"city": "Köln"}, "name": "weather"}\n</tool_call>',
        calls=(Call("weather", '{"city": "Köln"}'),),
    ),
    Example(
        '<tool_call>\n{"name": "a", "arguments": "{\\"x\\":  1}"}\n</tool_call>',
        calls=(Call("a", '{"x":  1}'),),
    ),
    Example('<tool_call>\n{"name": "now"}\n</tool_call>', calls=(Call("now", "{}"),)),
    Example(
        '<tool_call>\n{"name": "now", "arguments": null}\n</tool_call>', calls=(Call("now", "{}"),)
    ),
    Example(  # an end tag in a string ends nothing
        '<tool_call>\n{"name": "w", "arguments": {"t": "a</tool_call>}\\"\\\\"}}\n</tool_call>',
        calls=(Call("w", '{"t": "a</tool_call>}\\"\\\\"}'),),
    ),
    Example(  # a forgotten end tag, at the end and before another call
        '<tool_call>\n{"name": "a", "arguments": {}}\n<tool_call>\n{"name": "b", "arguments": {}',
        calls=(Call("a", "{}"), Call("b", "{}")),
    ),
    Example(
        '<tool_call>{"name": "a", "arguments": {}}\nSo it is.',
        text="So it is.",
        calls=(Call("a", "{}"),),
    ),
    Example(
        '<tool_call>{"name": "a", "arguments": {"x": 1}, "id": 7}</tool_call> ok',
        text="ok",
        calls=(Call("a", '{"x": 1}'),),
    ),
    Example(  # a raw newline, a lone backslash, a comma too many
        '<tool_call>{"name": "a", "arguments": {"x": "1\n2\\d", "y": True,}}</tool_call>',
        calls=(Call("a", '{"x": "1\\n2\\\\d", "y": true}'),),
    ),
    Example("Use <tool_call> and\n\n</tool_call>.", text="Use <tool_call> and\n\n</tool_call>."),
    Example(
        ' <tool_call>{"name": 3, "arguments": {}}</tool_call>',
        text=' <tool_call>{"name": 3, "arguments": {}}</tool_call>',
    ),
    Example(
        '<tool_call>{"name": "a", "arguments": [1]}</tool_call>',
        text='<tool_call>{"name": "a", "arguments": [1]}</tool_call>',
    ),
    Example(  # text, and yet a call in it
        '<tool_call>oops\n<tool_call>{"name": "a", "arguments": {}}</tool_call>',
        text="<tool_call>oops",
        calls=(Call("a", "{}"),),
    ),
    Example('Hm <tool_call>\n{"name": "wea', text='Hm <tool_call>\n{"name": "wea'),
    Example("Hm <tool_", text="Hm <tool_"),
    Example(" \n ", text=" \n "),
    Example(  # cut off
        '<tool_call>{"name": "a", "arguments": {"x": ["one", "tw',
        calls=(Call("a", '{"x": ["one", "tw"]}'),),
        completed=False,
    ),
    Example(
        '<tool_call>{"name": "a", "arguments": {"x": 1 "y": 2}}</tool_call>\nSorry.',
        text="Sorry.",
        calls=(Call("a", '{"x": 1}'),),
        completed=False,
    ),
    Example("", text=""),
)
