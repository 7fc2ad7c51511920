"""Calls that are JSON objects, `{"name": …, "arguments": {…}}`, alone or in a list."""

from __future__ import annotations

import json
from typing import Any

import regex

from ..parsing import Call
from ._format import Head, WholeJson

_SPACE = r"[ \t\r\n]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})+"'
_PLAIN = rf"(?:{_STRING}|[\w.+-]+){_SPACE}"  # a value that is no bracket
_OBJECT = rf"{_SPACE}\[?{_SPACE}[,;]?{_SPACE}(?=\{{)"
_NAME_KEY, _ARGUMENTS_KEY = r'"(?:name|tool_name)"', r'"(?:arguments|parameters)"'

JSON_HEADS: tuple[Head | WholeJson, ...] = (
    Head(
        regex.compile(
            rf"{_SPACE}\[?{_SPACE}[,;]?{_SPACE}\{{{_SPACE}"
            rf'(?:"(?:type|id|tool_call_id)"{_SPACE}:{_SPACE}{_PLAIN},{_SPACE})?'
            rf"{_NAME_KEY}{_SPACE}:{_SPACE}(?P<name>{_STRING}){_SPACE},"
            rf"{_SPACE}{_ARGUMENTS_KEY}{_SPACE}:{_SPACE}(?=\{{)"
        ),
        tail=regex.compile(rf"{_SPACE}(?:,{_SPACE}{_STRING}{_SPACE}:{_SPACE}{_PLAIN})*\}}"),
    ),
    WholeJson(regex.compile(_OBJECT)),
)


def json_closes(*literals: str) -> tuple[regex.Pattern[str], ...]:
    """The end of a list of such calls, and one of `literals`; either may be missing."""
    either = "|".join(map(regex.escape, literals))
    closed = (regex.compile(rf"{_SPACE}\]?{_SPACE}(?:{either})"),) if literals else ()
    return (*closed, regex.compile(rf"{_SPACE}\]"))


def read_call(text: str, *, bare: bool) -> Call | None:
    """A call from a complete JSON object; None when it has no name or its arguments are no object
    (or JSON text of one). A bare one, which nothing marks as a call, must have arguments."""
    try:
        call: dict[str, Any] = json.loads(text)
    except ValueError:  # a number with thousands of digits
        return None
    if isinstance(inner := call.get("function"), dict):
        call = inner
    arguments = call.get("arguments", call.get("parameters"))
    match call.get("name", call.get("tool_name")), arguments:
        case str(name), None if name and not bare:
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
