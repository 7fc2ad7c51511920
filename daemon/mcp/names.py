"""The names under which models see MCP tools: SERVER__TOOL, as functions may be called. Pure.

OpenAI's API, and most templates, allow a function's name 64 letters, digits, _ and -.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from typing import Any

from .connection import McpTool

MAX_LENGTH = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]")


def function_names(tools: Iterable[McpTool], taken: Collection[str] = ()) -> dict[str, McpTool]:
    """Function name → tool, in the given order. The same tools get the same names, so that a
    prompt that holds them stays the same; `taken` are names of the client's own functions."""
    named: dict[str, McpTool] = {}
    for tool in tools:
        name = plain = function_name(tool.server, tool.name)
        if len(name) > MAX_LENGTH or name in named or name in taken:
            mark = hashlib.sha256(f"{tool.server}\0{tool.name}".encode()).hexdigest()[:8]
            name = f"{plain[: MAX_LENGTH - 9]}_{mark}"
        named[name] = tool
    return named


def function_name(server: str, tool: str) -> str:
    """The name of a tool that shares it with no other."""
    return _ODD.sub("_", f"{server}__{tool}")


def functions(named: dict[str, McpTool]) -> list[dict[str, Any]]:
    """Tools in the shape of OpenAI's chat API."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": tool.description,
                "parameters": tool.input_schema,
            },
        }
        for name, tool in named.items()
    ]
