"""Chat's custom tools: a text instead of JSON arguments. The model gets a function with one text,
as for Responses; a grammar stands in its description, and holds it where it is called.

Source: https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..protocol.errors import BadRequest
from ..protocol.requests import InputPattern
from .custom_input import custom_input
from .responses_format import check_number, input_pattern
from .responses_tools import custom_function


def names_of(tools: Sequence[dict[str, Any]] | None) -> frozenset[str]:
    """Of the custom ones, once all were read."""
    return frozenset(tool["custom"]["name"] for tool in tools or () if tool["type"] == "custom")


def read_tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    """As a function. Raises BadRequest."""
    custom = tool.get("custom")
    where = f"{where}.custom"
    if not isinstance(custom, dict):
        raise BadRequest(f"{where} must be an object with a name.", param=where)
    return {"type": "function", "function": custom_function(_flat(custom), where)}


def _flat(custom: dict[str, Any]) -> dict[str, Any]:
    """In Responses' shape, where syntax and definition stand in the format itself."""
    match custom.get("format"):
        case {"type": "grammar", "grammar": dict(grammar)}:
            return custom | {"format": {"type": "grammar", **grammar}}
    return custom


def patterns_of(tools: Sequence[dict[str, Any]] | None) -> dict[str, InputPattern]:
    """Of the custom tools that have a grammar, by name, once all were read. Raises BadRequest."""
    found: dict[str, InputPattern] = {}
    for i, tool in enumerate(tools or ()):
        if tool["type"] == "custom":
            where = f"tools[{i}].custom.format.grammar.definition"
            form = _flat(tool["custom"]).get("format") or {}
            if form.get("type") == "grammar":
                check_number(found, where)
            pattern = input_pattern(form, where)
            if pattern is not None:
                found[tool["custom"]["name"]] = pattern
    return found


def read_call(call: dict[str, Any], where: str) -> dict[str, Any] | None:
    """A call of the history in a function's shape; None when it is of no custom tool. Raises
    BadRequest."""
    if call.get("type") != "custom":
        return None
    match call.get("custom"):
        case {"name": str(name), "input": str(given)}:
            arguments = json.dumps({"input": given}, ensure_ascii=False)
            return {"name": name, "arguments": arguments}
    raise BadRequest(f"{where}.custom must have name and input.", param=f"{where}.custom")


def call_object(identity: str, name: str, arguments: str) -> dict[str, Any]:
    """A whole call."""
    custom = {"name": name, "input": custom_input(arguments)}
    return {"id": identity, "type": "custom", "custom": custom}
