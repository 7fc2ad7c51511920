"""The answer is `[f(a=1), g()]`: Llama 4, Llama 3.2 small, ToolACE. Read when complete."""

from __future__ import annotations

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._python import python_calls
from ._python_grammar import python_call
from ._schemas import ToolTypes

MARKERS = ("<|python_start|>", "<|python_end|>")


def _read(text: str, types: ToolTypes) -> list[Call] | None:
    return python_calls(text.replace(MARKERS[1], ""), types)


def detect(chat_template: str) -> bool:
    return "[func_name1(" in chat_template


class Parser(CallParser):
    format = CallFormat(
        (MARKERS[0],),
        (Whole(regex.compile(""), "", _read),),
        bare=regex.compile(r"\s*(?=\[\s*[A-Za-z_][\w.]{0,255}\()"),
    )


FORMS = (
    Form(python_call, "[", "]", between=", "),
    Form(python_call, f"{MARKERS[0]}[", f"]{MARKERS[1]}", between=", ", demanded=False),
)
AROUND = Around(first=r"\[\s*[A-Za-z_][\w.]*\(", after=r"\s*\S")

EXAMPLES = (
    Example(
        '[f(a=1, b={"c": null}), g.h()]',
        calls=(Call("f", '{"a": 1, "b": {"c": null}}'), Call("g.h", "{}")),
    ),
    Example("<|python_start|>[f()]<|python_end|>", calls=(Call("f", "{}"),)),
    Example(r'[f(a="\ud83d\ude00")]', calls=(Call("f", '{"a": "😀"}'),)),
    Example("[f(1)] is wrong", text="[f(1)] is wrong"),
    Example("[1, 2]", text="[1, 2]"),
    Example("[f", text="[f"),
)
