"""Messages and tools of the chat dialect: checked, and brought into the one shape that chat
templates expect (`protocol.requests.ChatRequest`).

A list of text parts becomes one string, so that the same conversation gives the same prompt (and
the same prefix in the cache) however a client writes it down.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..protocol.errors import BadRequest

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_TOOLS = 1024


def read_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checked copies. Raises BadRequest that names the place, as `messages[2].content`."""
    if not messages:
        raise BadRequest("messages must hold at least one message.", param="messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: dict[str, Any], where: str) -> dict[str, Any]:
    role = message.get("role")
    if role not in ROLES:
        raise _bad(f"{where}.role", f"must be one of {', '.join(ROLES)}")
    checked: dict[str, Any] = {"role": role, "content": _content(message.get("content"), where)}
    if name := message.get("name"):
        checked["name"] = _string(name, f"{where}.name")
    if role == "assistant":
        # Clients send thinking back in the field in which they got it; templates know one.
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(reasoning, str):
            checked["reasoning_content"] = reasoning
        if message.get("function_call"):
            raise _bad(f"{where}.function_call", "is not supported; use tool_calls")
        if message.get("tool_calls"):
            checked["tool_calls"] = _tool_calls(message["tool_calls"], f"{where}.tool_calls")
    elif checked["content"] is None:
        raise _bad(f"{where}.content", "must not be null")
    if role == "tool" and (call_id := message.get("tool_call_id")):
        checked["tool_call_id"] = _string(call_id, f"{where}.tool_call_id")
    if checked["content"] is None:
        if "tool_calls" not in checked and "reasoning_content" not in checked:
            raise _bad(f"{where}.content", "must not be null without tool_calls")
        checked["content"] = ""
    return checked


def _content(content: Any, where: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _bad(f"{where}.content", "must be text or a list of parts")
    texts: list[str] = []
    for i, part in enumerate(content):
        place = f"{where}.content[{i}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise _bad(place, "must be an object")
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            texts.append(_string(part.get("text"), f"{place}.text"))
        elif kind == "refusal":
            texts.append(_string(part.get("refusal"), f"{place}.refusal"))
        else:
            raise _bad(f"{place}.type", f"{kind!r} is not supported by this model; only text is")
    return "\n".join(texts)


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise _bad(where, "must be a list")
    return [_tool_call(call, f"{where}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise _bad(f"{where}.function", "must be an object with name and arguments")
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return {
        "id": _string(call.get("id") or "", f"{where}.id"),
        "type": "function",
        "function": {
            "name": _string(function.get("name"), f"{where}.function.name"),
            "arguments": arguments,
        },
    }


def read_tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The tools as given, once every one is known to be a function with a name."""
    if tools and len(tools) > MAX_TOOLS:
        raise _bad("tools", f"has {len(tools)} entries; at most {MAX_TOOLS} are accepted")
    for i, tool in enumerate(tools or ()):
        if tool.get("type") != "function":
            raise _bad(f"tools[{i}].type", "must be 'function'")
        function = tool.get("function")
        if not isinstance(function, dict):
            raise _bad(f"tools[{i}].function", "must be an object")
        if not _string(function.get("name"), f"tools[{i}].function.name"):
            raise _bad(f"tools[{i}].function.name", "must not be empty")
        if not isinstance(function.get("parameters", {}), dict | None):
            raise _bad(f"tools[{i}].function.parameters", "must be a JSON schema (an object)")
    return tools or []


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(where, "must be a string")
    return value


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
