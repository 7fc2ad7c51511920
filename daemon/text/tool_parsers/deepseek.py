"""`<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>…<｜tool▁sep｜>…`: DeepSeek V3 and
R1 (the arguments in a Markdown fence) and V3.1 (bare)."""

from __future__ import annotations

import regex

from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import NAME, CallFormat, Head

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
MARKERS = (OPEN, CLOSE, CALL, SEPARATOR, CALL_END)


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class Parser(CallParser):
    format = CallFormat(
        (OPEN,),
        (
            Head(
                regex.compile(rf"\s*{CALL}function{SEPARATOR}{NAME}\n```json\n"),
                tail=regex.compile(rf"\s*```\s*{CALL_END}"),
            ),
            Head(
                regex.compile(rf"\s*{CALL}{NAME}{SEPARATOR}\s*(?=\{{)"),
                tail=regex.compile(rf"\s*{CALL_END}"),
            ),
        ),
        closes=(regex.compile(rf"\s*{CLOSE}"),),
        ends=(CALL_END, CLOSE),
    )


FORMS = (
    Form(json_call(f"{CALL}%s{SEPARATOR}", CALL_END), OPEN, CLOSE, between=""),
    Form(
        json_call(f"{CALL}function{SEPARATOR}%s\n```json\n", f"\n```{CALL_END}"),
        OPEN,
        CLOSE,
        between="\n",
    ),
)

EXAMPLES = (
    Example(
        f'Look.\n{OPEN}{CALL}function{SEPARATOR}f\n```json\n{{"a": 1}}\n```{CALL_END}{CLOSE}',
        text="Look.",
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example(
        f'{OPEN}{CALL}f{SEPARATOR}{{"a": 1}}{CALL_END}{CALL}g{SEPARATOR}{{}}{CALL_END}{CLOSE}',
        calls=(Call("f", '{"a": 1}'), Call("g", "{}")),
    ),
    Example(
        f'{OPEN}{CALL}f{SEPARATOR}{{"a',
        calls=(Call("f", "{}"),),
        completed=False,
    ),
    Example(f"{OPEN}{CALL}f", text=f"{OPEN}{CALL}f"),
)
