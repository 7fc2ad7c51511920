"""What reasoning and tool parsers have in common.

A parser is a module of `reasoning_parsers/` or `tool_parsers/` with these names:

    MARKERS: tuple[str, ...]    texts that must reach the parser even if they are special tokens
    CLOSE: str                  of reasoning parsers: what ends the thinking; END, if there is more
                                to it that a model writes (newlines)
    def detect(chat_template: str) -> bool      does a model with this template write this format?
    class Parser                a ReasoningParser or ToolParser, made for each choice
    EXAMPLES: tuple[Example, ...]               its conformance tests

A tool parser whose calls can be demanded says in `FORMS` how they are written (see `tool_grammar`),
in `AROUND` what it would read as calls beside those that begin with a start (see `held_calls`) and,
if they are others than MARKERS, in `MARKS` which texts there may be tokens. A reasoning parser
after whose thinking an answer can be demanded has the marks OPEN and CLOSE, or a `frame` (see
`reasoning_parsers.harmony`).

Text goes in as it is generated, cut anywhere; events come out, and their joined texts do not
depend on the cuts. Nothing is lost: what turns out not to be the format comes out as TextDelta.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..protocol.events import Event


class ToolParser(Protocol):
    """Finds tool calls in the answer."""

    completed: int  # calls whose arguments are complete, repaired ones not counted

    def __init__(self, index: int, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """`tools` as in OpenAI's chat API: formats without JSON learn from them what is text."""
        ...

    def push(self, text: str) -> list[Event]:
        """TextDelta, ToolCallStarted and ToolCallArguments with this choice's index."""
        ...

    def finish(self) -> list[Event]:
        """No text follows: what was held back."""
        ...


class ReasoningParser(Protocol):
    """Tells thinking from the answer."""

    open: bool  # inside the thinking now
    done: bool  # all further text is the answer: push need not be called any more

    def __init__(self, index: int, *, opened: bool) -> None: ...

    @staticmethod
    def opened_by(text: str) -> bool:
        """Does a prompt, or a message, that ends with `text` leave the thinking open?"""
        ...

    def push(self, text: str) -> list[Event]:
        """ReasoningDelta, and TextDelta for the answer."""
        ...

    def finish(self) -> list[Event]:
        """No text follows: what was held back."""
        ...


class Call(NamedTuple):
    """A tool call in an Example."""

    name: str
    arguments: str  # JSON text, exactly


class Example(NamedTuple):
    """Model output and what a parser must make of it, all deltas of a kind joined."""

    output: str
    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    opened: bool = False  # the prompt ended inside the thinking
    completed: bool = True  # every call is complete
    tools: tuple[dict[str, Any], ...] = ()  # what the request declared


def tool(name: str, **parameters: str | None) -> dict[str, Any]:
    """A declared tool, for an Example: parameter=its JSON type, or None for any."""
    properties = {key: {"type": kind} if kind else {} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def partial_marker(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a beginning of `marker`, but not all of it."""
    for size in range(min(len(text), len(marker) - 1), 0, -1):
        if text.endswith(marker[:size]):
            return size
    return 0


def new_call_id() -> str:
    """An id in OpenAI's form."""
    return f"call_{secrets.token_hex(12)}"


def whole_characters(text: str) -> str:
    """JSON's escapes may write halves of characters (\\ud83d), which no UTF-8 has: two that belong
    together become one, others U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
