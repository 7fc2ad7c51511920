"""Anthropic's system, messages and tools → the shape of `protocol.requests.ChatRequest`.

    user       text, image, document …  → user      tool_result → tool, in their order
    assistant  text, thinking, tool_use → one assistant message; mcp_tool_result → tool, between two
    system     in the middle of messages stays where it is

Blocks of kinds that we do not know are left out, or shown if they hold text: clients send next
month's. `tool_reference` stays a part; `text.conversation` puts the tool's schema there.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import json
import logging
from typing import Any

from ..protocol.errors import BadRequest
from .anthropic_mcp import read_use
from .anthropic_signature import Carried

log = logging.getLogger(__name__)

Message = dict[str, Any]
MAX_TOOLS = 1024


def read_messages(system: Any, messages: list[dict[str, Any]]) -> list[Message]:
    """Raises BadRequest that names the place, as `messages.2.content.0`."""
    if not messages:
        raise BadRequest("messages: at least one message is required.", param="messages")
    made: list[Message] = []
    if system:
        made.append({"role": "system", "content": _parts(system, "system")})
    names: dict[str, str] = {}  # tool_use id → the tool's name
    carried = Carried()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message.get("role")
        if not isinstance(role, str):
            raise _bad(f"{where}.role", "a string is required")
        content = message.get("content")
        if role == "assistant":
            made += _assistant(content, f"{where}.content", names, carried)
        else:
            made += _turn(role, content, f"{where}.content", names)
    return made


def _blocks(content: Any, where: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise _bad(where, "a string or a list of blocks is required")
    for number, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise _bad(f"{where}.{number}", "a block is an object with a type")
    return content


def _turn(role: str, content: Any, where: str, names: dict[str, str]) -> list[Message]:
    """A user's turn, or a system message's: tool results become messages of their own."""
    made: list[Message] = []
    parts: list[dict[str, Any]] = []

    def flush() -> None:
        if parts:
            made.append({"role": role, "content": parts.copy()})
            parts.clear()

    for number, block in enumerate(_blocks(content, where)):
        if block["type"] == "tool_result":
            flush()
            made.append(_tool_result(block, f"{where}.{number}", names))
        else:
            parts += _part(block, f"{where}.{number}")
    flush()
    return made or [{"role": role, "content": ""}]


def _assistant(content: Any, where: str, names: dict[str, str], carried: Carried) -> list[Message]:
    """One message; more where the daemon ran tools meanwhile, whose results stand between."""
    made: list[Message] = []
    turn = _AssistantTurn(carried)
    results: list[Message] = []
    for number, block in enumerate(_blocks(content, where)):
        place = f"{where}.{number}"
        if block["type"] == "mcp_tool_result":
            results.append(_tool_result(block, place, names))
            continue
        if results:
            made += [turn.message(), *results]
            turn, results = _AssistantTurn(carried), []
        turn.take(block, place, names)
    return [*made, turn.message(), *results]


class _AssistantTurn:
    def __init__(self, carried: Carried) -> None:
        self._carried = carried
        self._texts: list[dict[str, Any]] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def take(self, block: dict[str, Any], where: str, names: dict[str, str]) -> None:
        match block["type"]:
            case "thinking":
                signature = block.get("signature")
                hidden = self._carried.by(signature) if isinstance(signature, str) else ""
                self._thoughts.append(_string(block, "thinking", where) or hidden)
            case "tool_use":
                self._calls.append(_tool_use(block, where, names))
            case "mcp_tool_use":
                call = read_use(block, where)
                names[call["id"]] = call["function"]["name"]
                self._calls.append(call)
            case _:
                self._texts += _part(block, where)

    def message(self) -> Message:
        message: Message = {"role": "assistant", "content": self._texts or ""}
        if thinking := "\n\n".join(filter(None, self._thoughts)):
            message["reasoning_content"] = thinking
        if self._calls:
            message["tool_calls"] = self._calls
        return message


def _tool_use(block: dict[str, Any], where: str, names: dict[str, str]) -> dict[str, Any]:
    name = _string(block, "name", where)
    identity = _string(block, "id", where)
    given = block.get("input")
    if not isinstance(given, dict | None):
        raise _bad(f"{where}.input", "an object is required")
    names[identity] = name
    arguments = json.dumps(given or {}, ensure_ascii=False)
    return {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _tool_result(block: dict[str, Any], where: str, names: dict[str, str]) -> Message:
    identity = _string(block, "tool_use_id", where)
    parts = _parts(block.get("content"), f"{where}.content")
    if block.get("is_error") is True:
        parts.insert(0, {"type": "text", "text": "The tool failed:"})
    message: Message = {"role": "tool", "tool_call_id": identity, "content": parts or ""}
    if identity in names:
        message["name"] = names[identity]
    return message


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    blocks = _blocks(content, where)
    return [p for number, block in enumerate(blocks) for p in _part(block, f"{where}.{number}")]


def _part(block: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """A block as parts of OpenAI's content; none for what has no meaning here."""
    kind = block["type"]
    match kind:
        case "text":
            text = _string(block, "text", where)
            return [{"type": "text", "text": text}] if text else []
        case "image":
            return [{"type": "image_url", "image_url": {"url": _image_url(block, where)}}]
        case "document":
            return _document(block, where)
        case "search_result":
            head = f"{block.get('title', '')}\n{block.get('source', '')}".strip()
            return [{"type": "text", "text": head}, *_parts(block.get("content"), where)]
        case "tool_reference":
            name = _string(block, "tool_name", where)
            return [{"type": "tool_reference", "tool_name": name}]
        case "redacted_thinking" | "thinking":
            return []
    text = block.get("text")
    log.debug("%s: a block of the unknown type %.100r", where, kind)
    return [{"type": "text", "text": text}] if isinstance(text, str) and text else []


def _image_url(block: dict[str, Any], where: str) -> str:
    match block.get("source"):
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
    raise _bad(f"{where}.source", "base64 with media_type and data, or a url, is required")


def _document(block: dict[str, Any], where: str) -> list[dict[str, Any]]:
    match block.get("source"):
        case {"type": "text", "data": str(text)}:
            parts = [{"type": "text", "text": text}]
        case {"type": "content", "content": content}:
            parts = _parts(content, f"{where}.source.content")
        case {"type": kind}:  # a PDF; whether it can be read is the model's side to say
            return [{"type": "file", "file": {"kind": str(kind)}}]
        case _:
            raise _bad(f"{where}.source", "an object with a type is required")
    title = block.get("title")
    return [{"type": "text", "text": title}, *parts] if isinstance(title, str) else parts


def read_tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Tools with a schema, in OpenAI's shape and the order given. Those that Anthropic's own
    servers would run (web search, code execution) are left out: nobody here can run them."""
    if tools and len(tools) > MAX_TOOLS:
        raise _bad("tools", f"at most {MAX_TOOLS} entries are accepted")
    made = []
    for number, tool in enumerate(tools or ()):
        where = f"tools.{number}"
        kind = tool.get("type") or "custom"
        schema = tool.get("input_schema")
        if schema is None and kind != "custom":
            log.info("the tool type %.100r is not available here and is left out", kind)
            continue
        if not isinstance(schema, dict):
            raise _bad(f"{where}.input_schema", "a JSON schema (an object) is required")
        if not (name := _string(tool, "name", where)):
            raise _bad(f"{where}.name", "must not be empty")
        function: dict[str, Any] = {"name": name}
        if isinstance(tool.get("description"), str):
            function["description"] = tool["description"]
        function["parameters"] = schema
        if isinstance(tool.get("strict"), bool):
            function["strict"] = tool["strict"]
        entry: dict[str, Any] = {"type": "function", "function": function}
        if tool.get("defer_loading") is True:
            entry["defer_loading"] = True
        made.append(entry)
    return made


def has_cache_marks(value: Any) -> bool:
    """Whether a `cache_control` stands anywhere in the body, outside of texts and schemas."""
    if isinstance(value, list):
        return any(map(has_cache_marks, value))
    if isinstance(value, dict):
        if value.get("cache_control"):
            return True
        inside = (value.get(key) for key in ("system", "tools", "messages", "content"))
        return any(isinstance(each, list) and has_cache_marks(each) for each in inside)
    return False


def _string(block: dict[str, Any], key: str, where: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise _bad(f"{where}.{key}", "a string is required")
    return value


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where}: {what}.", param=where)
