"""A Markdown fence named `tool_code` (or `tool_call`) around Python calls: Gemma 3, which
was taught this in prompts only."""

from __future__ import annotations

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._python import python_calls
from ._python_grammar import python_call

MARKERS = ("```tool_code", "```tool_call")


def detect(chat_template: str) -> bool:
    return "<start_of_turn>" in chat_template and "<start_function_call>" not in chat_template


class Parser(CallParser):
    format = CallFormat(MARKERS, (Whole(regex.compile(""), "```", python_calls),))


FORMS = (
    Form(python_call, f"{MARKERS[0]}\n", "\n```", between="\n"),
    Form(python_call, f"{MARKERS[1]}\n", "\n```", between="\n", demanded=False),
)

EXAMPLES = (
    Example('```tool_code\nprint(f(a="x"))\n```', calls=(Call("f", '{"a": "x"}'),)),
    Example(
        "So:\n```tool_code\n[f(), g()]```", text="So:", calls=(Call("f", "{}"), Call("g", "{}"))
    ),
    Example("```tool_code\nx = 1\n```", text="```tool_code\nx = 1\n```"),
    Example("```python\nf()\n```", text="```python\nf()\n```"),
)
