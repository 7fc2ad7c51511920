"""One machine for all formats of tool calls: a format is data (`CallFormat`).

    text … start  head  arguments  tail  [head  arguments  tail …]  close  … text

A head ends where the arguments begin and names the tool. Patterns are matched partially (the
`regex` package): "not yet" waits for more text, "never" makes text of it. So what comes out does
not depend on where the text was cut, and arguments are passed on while they are generated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Any, ClassVar

import regex

from ...protocol.events import Event, TextDelta, ToolCallArguments, ToolCallStarted
from ..json_stream import JsonObjectStream
from ..parsing import Call, new_call_id, partial_marker, whole_characters
from ._format import NOTHING, ArgumentReader, CallFormat, Head, Whole, WholeJson
from ._json_calls import read_call
from ._schemas import Declared


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    ARGUMENTS = auto()
    OBJECT = auto()  # of a WholeJson
    WHOLE = auto()
    TAIL = auto()
    SKIP = auto()  # to the end of a call that went wrong


class CallParser:
    """A ToolParser (`text.parsing`) for the format of its subclass."""

    format: ClassVar[CallFormat]

    def __init__(self, index: int, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self.completed = 0
        self._index = index
        self._types = Declared(tools)
        self._calls = 0
        self._state = _State.TEXT
        self._buffer = ""  # not yet looked at
        self._final = False  # no text follows
        self._begun = False  # the answer has begun: a bare section cannot begin any more
        self._after_call = False  # whitespace here is not worth being text
        self._opening = ""  # the section's start, with the whitespace before it
        self._section_calls = 0
        self._body = ""  # of an OBJECT: its text so far
        self._reader: ArgumentReader = JsonObjectStream()
        self._tail = NOTHING
        self._whole: Whole | None = None
        self._object: list[str] = []

    def push(self, text: str) -> list[Event]:
        self._buffer += text
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def finish(self) -> list[Event]:
        self._final = True
        return self.push("")

    def _step(self, events: list[Event]) -> bool:
        """Uses some of the buffer; False when only more text can help."""
        match self._state:
            case _State.TEXT:
                return self._text(events)
            case _State.HEAD:
                return self._head(events)
            case _State.ARGUMENTS:
                return self._read_arguments(events)
            case _State.OBJECT:
                return self._read_object(events)
            case _State.WHOLE:
                return self._read_whole(events)
            case _State.TAIL:
                return self._read_tail()
            case _State.SKIP:
                return self._skip()

    # ---- text

    def _text(self, events: list[Event]) -> bool:
        buffer = self._buffer
        if not self._begun and self.format.bare is not None and buffer:
            match = self.format.bare.match(buffer, partial=True)
            if match is not None and not (match.partial and self._final):
                if match.partial:
                    return False
                self._enter("", buffer)
                return True
            self._begun = True
        places = [(p, s) for s in self.format.starts if (p := buffer.find(s)) >= 0]
        if not places:
            held = 0 if self._final else max(partial_marker(buffer, s) for s in self._starts)
            text = buffer[: len(buffer) - held]
            shown = text if self._final else text.rstrip()
            if not (self._final and self._after_call and not text.strip()):
                self._emit_text(shown, events)
            self._buffer = buffer[len(text) if self._final else len(shown) :]
            return False
        place, start = min(places, key=lambda found: (found[0], -len(found[1])))
        shown = buffer[:place].rstrip()
        self._emit_text(shown, events)
        self._enter(buffer[len(shown) : place] + start, buffer[place + len(start) :])
        return True

    @property
    def _starts(self) -> tuple[str, ...]:
        return self.format.starts or ("",)

    def _enter(self, opening: str, rest: str) -> None:
        self._begun = True
        self._opening = opening
        self._section_calls = 0
        self._buffer = rest
        self._state = _State.HEAD

    def _leave(self) -> None:
        self._state = _State.TEXT
        self._after_call = True

    def _give_back(self, events: list[Event]) -> None:
        """This is no call: its start is text, and what follows is looked at anew."""
        if self._section_calls:
            self._leave()
            return
        self._emit_text(self._opening, events)
        self._state = _State.TEXT

    # ---- calls

    def _head(self, events: list[Event]) -> bool:
        for head in self.format.heads:
            match = head.pattern.match(self._buffer, partial=True)
            if match is None or (match.partial and self._final):
                continue
            if match.partial:
                return False
            if isinstance(head, Head) and not self._is_call(_name(match)):
                continue
            self._buffer = self._buffer[match.end() :]
            self._begin(head, match, events)
            return True
        if not self._section_calls:
            self._give_back(events)
            return True
        for pattern in self.format.closes:
            match = pattern.match(self._buffer, partial=True)
            if match is None:
                continue
            if match.partial and not self._final:
                return False
            self._buffer = self._buffer[match.end() :]
            break
        self._leave()
        return True

    def _is_call(self, name: str) -> bool:
        """An answer in JSON is no call of a tool that nobody declared."""
        return bool(self._opening) or not self._types or name in self._types

    def _begin(
        self, head: Head | WholeJson | Whole, match: regex.Match[str], events: list[Event]
    ) -> None:
        self._body = match[0]
        if isinstance(head, WholeJson):
            self._reader, self._object = JsonObjectStream(), []
            self._state = _State.OBJECT
        elif isinstance(head, Whole):
            self._whole = head
            self._state = _State.WHOLE
        else:
            name = _name(match)
            self._start(name, events, match.groupdict().get("id"))
            self._reader, self._tail = head.reader(self._types.get(name, {})), head.tail
            self._state = _State.ARGUMENTS

    def _read_arguments(self, events: list[Event]) -> bool:
        reader = self._reader
        text, self._buffer = self._buffer, ""
        if text:
            self._emit_arguments(reader.push(text), events)
        if reader.complete:
            self.completed += 1
            self._buffer, self._state = reader.rest, _State.TAIL
        elif reader.failed:
            self._emit_arguments(reader.close(), events)
            self._buffer, self._state = reader.rest, _State.SKIP
        elif self._final:
            self._emit_arguments(reader.close(), events)
            self._leave()
        else:
            return False
        return True

    def _read_object(self, events: list[Event]) -> bool:
        text, self._buffer = self._buffer, ""
        reader = self._reader
        if text:
            self._body += text
            self._object.append(reader.push(text))
        bare = not self._opening
        call = read_call("".join(self._object), bare=bare) if reader.complete else None
        if call is not None and self._is_call(call.name):
            self._whole_call(call, events)
            self._buffer, self._tail, self._state = reader.rest, NOTHING, _State.TAIL
        elif reader.complete or reader.failed or self._final:
            self._buffer = self._body
            self._give_back(events)
        else:
            return False
        return True

    def _read_whole(self, events: list[Event]) -> bool:
        assert self._whole is not None
        end = self._whole.end
        text, found, rest = self._buffer.partition(end) if end else (self._buffer, "", "")
        if not found and not self._final:
            return False
        calls = self._whole.read(text, self._types)
        if calls:
            for call in calls:
                self._whole_call(call, events)
            self._buffer = rest
            self._leave()
        else:
            self._buffer = self._body + self._buffer
            self._give_back(events)
        return True

    def _read_tail(self) -> bool:
        match = self._tail.match(self._buffer, partial=True)
        if match is not None and match.partial and not self._final:
            return False
        if match is not None:
            self._buffer = self._buffer[match.end() :]
        self._state = _State.HEAD
        return True

    def _skip(self) -> bool:
        places = [(p, "") for s in self.format.starts if (p := self._buffer.find(s)) >= 0]
        places += [(p, s) for s in self.format.ends if (p := self._buffer.find(s)) >= 0]
        if not places:
            longest = max(map(len, (*self.format.starts, *self.format.ends, " ")))
            self._buffer = "" if self._final else self._buffer[1 - longest :]
            if self._final:
                self._leave()
            return self._final
        place, end = min(places)
        self._buffer = self._buffer[place + len(end) :]
        if end:
            self._state = _State.HEAD
        else:
            self._leave()
        return True

    # ---- events

    def _whole_call(self, call: Call, events: list[Event]) -> None:
        self._start(call.name, events, None)
        self._emit_arguments(call.arguments, events)
        self.completed += 1

    def _emit_text(self, text: str, events: list[Event]) -> None:
        if self._after_call:
            text = text.lstrip()
        if text:
            self._after_call = False
            events.append(TextDelta(self._index, text))

    def _start(self, name: str, events: list[Event], id_: str | None) -> None:
        call_id = id_ or new_call_id()
        name = whole_characters(name)
        events.append(ToolCallStarted(self._index, self._calls, call_id, name))
        self._calls += 1
        self._section_calls += 1

    def _emit_arguments(self, text: str, events: list[Event]) -> None:
        if text:
            text = whole_characters(text)
            events.append(ToolCallArguments(self._index, self._calls - 1, text))


def _name(match: regex.Match[str]) -> str:
    name = match["name"]
    return json.loads(name) if name.startswith('"') else name
