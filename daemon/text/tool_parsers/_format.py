"""What a format of tool calls is, as data for the machine in `_calls`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import regex

from ..json_stream import JsonObjectStream
from ..parsing import Call
from ._schemas import ToolTypes, Types

NOTHING = regex.compile("")
NAME = r"(?P<name>[\w.:/-]{1,256})"


class ArgumentReader(Protocol):
    """Text of arguments in, JSON text out that `close()` makes valid at any time."""

    complete: bool
    failed: bool
    rest: str  # what was not used, after `complete` or `failed`

    def push(self, text: str) -> str: ...

    def close(self) -> str: ...


def _json(types: Types) -> ArgumentReader:
    return JsonObjectStream()


class Head(NamedTuple):
    """The beginning of a call whose arguments are passed on as they come."""

    pattern: regex.Pattern[str]  # groups: name (as JSON string if it is quoted), perhaps id
    tail: regex.Pattern[str] = NOTHING  # behind the arguments
    reader: Callable[[Types], ArgumentReader] = _json


class WholeJson(NamedTuple):
    """A call that is one JSON object, however its members stand. The pattern ends before it."""

    pattern: regex.Pattern[str]


class Whole(NamedTuple):
    """Calls that are read at once when the text `end` comes ("": at the end of the output)."""

    pattern: regex.Pattern[str]
    end: str
    read: Callable[[str, ToolTypes], list[Call] | None]  # None: these are no calls


class CallFormat(NamedTuple):
    starts: tuple[str, ...]  # texts that begin a section of calls
    heads: tuple[Head | WholeJson | Whole, ...]  # the first that matches
    closes: tuple[regex.Pattern[str], ...] = ()  # behind the last call, the first that matches
    ends: tuple[str, ...] = ()  # where to go on after arguments that went wrong
    bare: regex.Pattern[str] | None = None  # an answer that begins so is a section without start
