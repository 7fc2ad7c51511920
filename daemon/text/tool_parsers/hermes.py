"""`<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes 2 Pro, Qwen2.5, Qwen3 and others.

Arguments are passed on while the model writes them, if the name stands before them as the templates
teach; otherwise the call is read as a whole. An end tag inside a JSON string does not end the call,
and a missing one is forgiven when the JSON is complete.

A block that is no call comes out as the text that it is. If its arguments were already on their way
when they went wrong, their JSON is closed so that it is valid, and the call does not count as
completed.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any

from ...protocol.events import Event, TextDelta, ToolCallArguments, ToolCallStarted
from ..json_stream import JsonObjectStream
from ..parsing import Call, Example, new_call_id, partial_marker

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MARKERS = (OPEN, CLOSE)

# The beginning of a call up to its arguments, in JSON's own terms of whitespace and strings.
_SPACE = r"[ \t\r\n]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})+"'
_HEAD = re.compile(
    rf'{_SPACE}\{{{_SPACE}"name"{_SPACE}:{_SPACE}({_STRING}){_SPACE},'
    rf'{_SPACE}"(?:arguments|parameters)"{_SPACE}:{_SPACE}(?=\{{)'
)


def detect(chat_template: str) -> bool:
    """Templates that write the same tag around something else than this JSON are not ours."""
    others = ("<function=", "<arg_key>")
    ours = OPEN in chat_template and "arguments" in chat_template
    return ours and not any(other in chat_template for other in others)


class _State(Enum):
    TEXT = auto()
    HEAD = auto()  # a call before its arguments, or all of one that is read as a whole
    ARGUMENTS = auto()  # being passed on
    TAIL = auto()  # after the arguments
    SKIP = auto()  # to the end tag, in a call that went wrong or has more than it should


class Parser:
    def __init__(self, index: int) -> None:
        self.completed = 0
        self._index = index
        self._calls = 0
        self._state = _State.TEXT
        self._buffer = ""  # not yet looked at
        self._after_call = False  # whitespace here is not worth being text
        self._before = ""  # whitespace before the call that is being read
        self._body = ""  # of that call
        self._whole = JsonObjectStream()
        self._whole_text: list[str] = []
        self._arguments = JsonObjectStream()
        self._brace_open = False  # the call's own, behind the arguments

    def push(self, text: str) -> list[Event]:
        self._buffer += text
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = []
        while self._state is _State.HEAD:
            self._give_back(events)
            while self._step(events):
                pass
        if self._state is _State.ARGUMENTS:
            self._emit_arguments(self._arguments.close(), events)
        elif self._state is _State.TEXT and not (self._after_call and self._buffer.isspace()):
            self._emit_text(self._buffer, events)
        self._buffer = ""
        return events

    def _step(self, events: list[Event]) -> bool:
        """Uses some of the buffer; False when only more text can help."""
        match self._state:
            case _State.TEXT:
                return self._text(events)
            case _State.HEAD:
                return self._head(events)
            case _State.ARGUMENTS:
                return self._read_arguments(events)
            case _State.TAIL:
                return self._tail()
            case _State.SKIP:
                return self._skip()

    def _text(self, events: list[Event]) -> bool:
        text, opening, rest = self._buffer.partition(OPEN)
        shown = (
            text.rstrip() if opening else text[: len(text) - partial_marker(text, OPEN)].rstrip()
        )
        self._emit_text(shown, events)
        if not opening:
            self._buffer = text[len(shown) :]
            return False
        self._before = text[len(shown) :]
        self._body = ""
        self._whole = JsonObjectStream()
        self._whole_text = []
        self._buffer = rest
        self._state = _State.HEAD
        return True

    def _head(self, events: list[Event]) -> bool:
        text, self._buffer = self._buffer, ""
        self._body += text
        if head := _HEAD.match(self._body):
            self._start(json.loads(head[1]), events)
            self._arguments = JsonObjectStream()
            self._buffer = self._body[head.end() :]
            self._brace_open = True
            self._state = _State.ARGUMENTS
            return True
        self._whole_text.append(self._whole.push(text))
        if self._whole.failed:
            self._give_back(events)
            return True
        if not self._whole.complete:
            return False
        if call := _read_call("".join(self._whole_text)):
            self._start(call.name, events)
            self._emit_arguments(call.arguments, events)
            self.completed += 1
            self._buffer = self._whole.rest
            self._brace_open = False
            self._state = _State.TAIL
        else:
            self._give_back(events)
        return True

    def _read_arguments(self, events: list[Event]) -> bool:
        if not self._buffer:
            return False
        arguments = self._arguments
        self._emit_arguments(arguments.push(self._buffer), events)
        self._buffer = arguments.rest
        if arguments.complete:
            self.completed += 1
            self._state = _State.TAIL
        elif arguments.failed:
            self._emit_arguments(arguments.close(), events)
            self._state = _State.SKIP
        return arguments.complete or arguments.failed

    def _tail(self) -> bool:
        text = self._buffer.lstrip()
        if self._brace_open and text.startswith("}"):
            text = text[1:].lstrip()
            self._brace_open = False
        if self._brace_open and text.startswith(","):
            self._state = _State.SKIP
        elif text.startswith(CLOSE):
            text = text[len(CLOSE) :]
            self._state = _State.TEXT
        elif not CLOSE.startswith(text):
            self._state = _State.TEXT
        self._after_call = True
        self._buffer = text
        return self._state is not _State.TAIL

    def _skip(self) -> bool:
        end = self._buffer.find(CLOSE)
        opening = self._buffer.find(OPEN)
        if opening >= 0 and (end < 0 or opening < end):
            self._buffer = self._buffer[opening:]
        elif end >= 0:
            self._buffer = self._buffer[end + len(CLOSE) :]
        else:
            self._buffer = self._buffer[1 - len(CLOSE) :]
            return False
        self._after_call = True
        self._state = _State.TEXT
        return True

    def _give_back(self, events: list[Event]) -> None:
        """The block is no call: its tag is text, and what follows is looked at anew."""
        self._emit_text(self._before + OPEN, events)
        self._buffer = self._body + self._buffer
        self._state = _State.TEXT

    def _emit_text(self, text: str, events: list[Event]) -> None:
        if self._after_call:
            text = text.lstrip()
        if text:
            self._after_call = False
            events.append(TextDelta(self._index, text))

    def _start(self, name: str, events: list[Event]) -> None:
        events.append(ToolCallStarted(self._index, self._calls, new_call_id(), name))
        self._calls += 1

    def _emit_arguments(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(ToolCallArguments(self._index, self._calls - 1, text))


def _read_call(text: str) -> Call | None:
    """A call from a complete JSON object; None when it has no name or its arguments are no object
    (or JSON text of one)."""
    try:
        call: dict[str, Any] = json.loads(text)
    except ValueError:  # a number with thousands of digits
        return None
    arguments = call.get("arguments", call.get("parameters"))
    match call.get("name"), arguments:
        case str(name), None if name:
            return Call(name, "{}")
        case str(name), dict() if name:
            return Call(name, json.dumps(arguments, ensure_ascii=False))
        case str(name), str() if name and _is_object(arguments):
            return Call(name, arguments)
    return None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


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
