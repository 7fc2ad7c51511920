"""`<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>`: gpt-oss.

The reasoning parser of the same name takes the other channels away and leaves these messages."""

from __future__ import annotations

import regex

from ..held_calls import Around
from ..parsing import Call, Example
from ..tool_grammar import Form, json_call
from ._calls import CallParser
from ._format import NAME, CallFormat, Head

CHANNEL, CONSTRAIN, MESSAGE = "<|channel|>", "<|constrain|>", "<|message|>"
CALL, END, START, RETURN = "<|call|>", "<|end|>", "<|start|>", "<|return|>"
MARKERS = (CHANNEL, CONSTRAIN, MESSAGE, CALL, END, START, RETURN)


def detect(chat_template: str) -> bool:
    return CHANNEL in chat_template and MESSAGE in chat_template


class Parser(CallParser):
    format = CallFormat(
        (CHANNEL, f"{START}assistant to=functions."),
        (
            Head(
                regex.compile(
                    rf"\s*(?:commentary|analysis)\s*to=(?:functions\.)?{NAME}"
                    rf"\s*(?:<\|constrain\|>)?\s*(?:json)?\s*{regex.escape(MESSAGE)}"
                )
            ),
            Head(
                regex.compile(
                    rf"{NAME}\s*{regex.escape(CHANNEL)}\s*\w+"
                    rf"\s*(?:<\|constrain\|>)?\s*(?:json)?\s*{regex.escape(MESSAGE)}"
                )
            ),
        ),
        closes=(regex.compile(r"\s*<\|(?:call|end)\|>"),),
        ends=(CALL, END),
    )


# What ends the message ends the answer: gpt-oss makes one call at a time.
_CALL = f"{CHANNEL}commentary to=functions."
FORMS = (Form(json_call(f"%s {CONSTRAIN}json{MESSAGE}"), _CALL),)
AROUND = Around(
    starts=(_CALL,), never_like=r"((commentary|analysis)\s*to=|assistant to=functions\.)"
)

EXAMPLES = (
    Example(
        f'{CHANNEL}commentary to=functions.f {CONSTRAIN}json{MESSAGE}{{"a": 1}}{CALL}',
        calls=(Call("f", '{"a": 1}'),),
    ),
    Example(
        f"{START}assistant to=functions.f{CHANNEL}commentary json{MESSAGE}{{}}",
        calls=(Call("f", "{}"),),
    ),
    Example("Plain.", text="Plain."),
)
