"""Messages and tools as Ollama's clients write them → the shape of `protocol.requests.ChatRequest`.

What differs from OpenAI's chat: pictures stand beside the text, arguments of calls are objects, and
calls may lack an id; a result then names the tool, or just comes in the order of the calls.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import json
from typing import Any

from ..protocol.errors import BadRequest
from . import openai_messages


def read_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checked copies. Raises BadRequest that names the place."""
    made: list[dict[str, Any]] = []
    open_calls = _OpenCalls([])
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        check_images(message.get("images"), f"{where}.images")
        message = {key: value for key, value in message.items() if key != "images"}
        message["content"] = message.get("content") or ""
        if calls := message.get("tool_calls"):
            message["tool_calls"] = _calls(calls, place, f"{where}.tool_calls")
            open_calls = _OpenCalls(message["tool_calls"])
        if message.get("role") == "tool":
            message = _result(message, open_calls)
        made.append(message)
    return openai_messages.read_messages(made)


def _calls(calls: Any, place: int, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise BadRequest(f"{where} must be a list.", param=where)
    return [
        _call(call, f"call_{place}_{number}", f"{where}[{number}].function")
        for number, call in enumerate(calls)
    ]


def _call(call: Any, name: str, where: str) -> dict[str, Any]:
    """With an id, and arguments as text; the rest is left to `openai_messages`."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise BadRequest(f"{where} must be an object with name and arguments.", param=where)
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        function = function | {"arguments": json.dumps(arguments or {}, ensure_ascii=False)}
    return call | {"id": call.get("id") or name, "function": function}


class _OpenCalls:
    """The calls of a message that have no result yet, in their order; there may be very many."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        self._open = dict(enumerate(calls))
        self._by_id: dict[str, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for number in reversed(self._open):
            call = calls[number]
            self._by_id.setdefault(str(call["id"]), []).append(number)
            self._by_name.setdefault(str(call["function"].get("name")), []).append(number)

    def take(self, identity: Any, name: Any) -> dict[str, Any] | None:
        """The first with this id or, without one, of this name, or of any; it is open no more."""
        if identity:
            numbers = self._by_id.get(str(identity), [])
        elif name is not None:
            numbers = self._by_name.get(str(name), [])
        else:
            number = next(iter(self._open), None)
            return None if number is None else self._open.pop(number)
        while numbers:
            if (call := self._open.pop(numbers.pop(), None)) is not None:
                return call
        return None


def _result(message: dict[str, Any], open_calls: _OpenCalls) -> dict[str, Any]:
    """The message with the id of the call that it answers; that call is taken from the list."""
    name = message.pop("tool_name", None) or message.get("name")
    call = open_calls.take(message.get("tool_call_id"), name)
    if call is not None:
        message["tool_call_id"] = call["id"]
        name = name or call["function"].get("name")
    return message | ({"name": name} if name is not None else {})


def read_tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """A tool without a type is a function."""
    return openai_messages.read_tools(
        [tool if tool.get("type") else tool | {"type": "function"} for tool in tools or ()]
    )


def check_images(images: Any, where: str) -> None:
    """Raises BadRequest for pictures."""
    if images:
        raise BadRequest(f"{where}: this model reads text only, no images.", param=where)
