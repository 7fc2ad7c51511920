"""Messages and tools of the chat dialect, checked: whatever passes here has the shape that
`protocol.requests.ChatRequest` promises. How a model's template wants them is text/messages.py's.
"""

from __future__ import annotations

from typing import Any

from ..protocol.errors import BadRequest
from .openai_custom import read_call, read_tool

ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_TOOLS = 1024
# What of a message reaches the template; clients add marks of their own (cache_control, ids).
_KEPT = (
    "role",
    "content",
    "name",
    "reasoning_content",
    "reasoning",
    "thinking",
    "tool_calls",
    "tool_call_id",
)
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


def read_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checked copies. Raises BadRequest that names the place, as `messages[2].content`."""
    if not messages:
        raise BadRequest("messages must hold at least one message.", param="messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: dict[str, Any], where: str) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise _bad(f"{where}.role", f"must be one of {', '.join(ROLES)}")
    kept = {key: message[key] for key in _KEPT if message.get(key) is not None}
    for key in ("name", "reasoning_content", "reasoning", "thinking", "tool_call_id"):
        if key in kept:
            _string(kept[key], f"{where}.{key}")
    _check_content(kept.get("content"), f"{where}.content", media=role == "tool")
    if message.get("function_call"):
        raise _bad(f"{where}.function_call", "is not supported; use tool_calls")
    if role != "assistant":
        kept.pop("tool_calls", None)
    elif calls := kept.pop("tool_calls", None):
        kept["tool_calls"] = _tool_calls(calls, f"{where}.tool_calls")
    if "content" not in kept:
        if "tool_calls" not in kept and not (role == "assistant" and len(kept) > 1):
            raise _bad(f"{where}.content", "must be text or a list of parts, not null")
        kept["content"] = ""
    return kept


def _check_content(content: Any, where: str, *, media: bool) -> None:
    """With `media` parts that are not text pass: a note takes the place of a tool's pictures."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _bad(where, "must be text or a list of parts")
    for i, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise _bad(f"{where}[{i}]", "must be an object with a type")
        if kind not in _TEXT_PARTS:
            if media:
                continue
            raise _bad(f"{where}[{i}].type", f"'{kind[:100]}' is not supported; only text is yet")
        _string(part.get(_TEXT_PARTS[kind]), f"{where}[{i}].{_TEXT_PARTS[kind]}")


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise _bad(where, "must be a list")
    return [_tool_call(call, f"{where}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(call, dict):
        function = read_call(call, where) or function
    if not isinstance(function, dict):
        raise _bad(f"{where}.function", "must be an object with name and arguments")
    _string(function.get("name"), f"{where}.function.name")
    arguments = function.get("arguments", "{}")
    if not isinstance(arguments, str | dict | None):
        raise _bad(f"{where}.function.arguments", "must be JSON as a string")
    return {
        "id": _string(call.get("id") or "", f"{where}.id"),
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def read_tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The tools as given, once every one is known to be a function with a name; custom ones become
    functions. Tools of types that we do not know, such as those that a maker's own servers carry
    out, are left out."""
    if tools and len(tools) > MAX_TOOLS:
        raise _bad("tools", f"has {len(tools)} entries; at most {MAX_TOOLS} are accepted")
    read = (_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools or ()))
    return [tool for tool in read if tool is not None]


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any] | None:
    kind = _string(tool.get("type"), f"{where}.type")
    if kind == "custom":
        return read_tool(tool, where)
    if kind != "function":
        return None
    function = tool.get("function")
    if not isinstance(function, dict):
        raise _bad(f"{where}.function", "must be an object")
    if not _string(function.get("name"), f"{where}.function.name"):
        raise _bad(f"{where}.function.name", "must not be empty")
    if not isinstance(function.get("parameters", {}), dict | None):
        raise _bad(f"{where}.function.parameters", "must be a JSON schema (an object)")
    return tool


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(where, "must be a string")
    return value


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
