"""The tools of a Responses request, and what the model calls them.

    function                the same in chat's shape
    namespace               its functions, by their own names; NAMESPACE__NAME where two would clash
    custom                  a function with one text, `input`; a grammar stands in its description,
                            and holds it where it is called
    mcp                     the tools of a server of mcp.json; see responses_mcp
    all others              OpenAI's servers run them (web search …); left out of the prompt

Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ..protocol.errors import BadRequest
from .responses_mcp import McpServer, read_mcp

log = logging.getLogger(__name__)

MAX_TOOLS = 1024


class Tool(NamedTuple):
    """What the client knows a tool as."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str | None = None
    format: dict[str, Any] | None = None  # of a custom tool
    where: str = ""  # it stands in the request


class Tools(NamedTuple):
    """`offered` is for `ChatRequest.tools`; `known` finds a tool by the model's name of it."""

    offered: list[dict[str, Any]]
    known: dict[str, Tool]
    servers: list[McpServer]
    names: dict[tuple[str, str | None], str]  # name and namespace → the model's name

    def name_of(self, name: str, namespace: str | None = None) -> str:
        """The model's name of a tool that the client names; the same of one that is not offered
        (any more)."""
        return self.names.get((name, namespace), name)


class Choice(NamedTuple):
    """`tool_choice`, and the tools that remain."""

    kind: Literal["auto", "none", "required"]
    name: str | None
    tools: Tools


def read_tools(tools: list[dict[str, Any]] | None) -> Tools:
    """Raises BadRequest that names the place, as `tools[2].name`."""
    made = Tools([], {}, [], {})
    plain = {str(tool.get("name")) for tool in tools or () if tool.get("type") != "namespace"}
    for number, (where, tool, namespace) in enumerate(_flat(tools or [])):
        if number == MAX_TOOLS:
            raise _bad("tools", f"has more than {MAX_TOOLS} entries, those of namespaces included")
        match tool.get("type"):
            case "function":
                kind, function = "function", _function(tool, where)
            case "custom":
                kind, function = "custom", custom_function(tool, where)
            case "mcp":
                made.servers.append(read_mcp(tool, where))
                continue
            case other:
                log.debug("the tool type %.100r is not available here and is left out", other)
                continue
        name = function["name"]
        clash = name in plain or name in made.known
        own = f"{namespace}__{name}" if namespace and clash else name
        made.offered.append({"type": "function", "function": function | {"name": own}})
        form = tool.get("format") if kind == "custom" else None
        form = form if isinstance(form, dict) else None
        made.known[own] = Tool(kind, name, namespace, form, where)
        made.names.setdefault((name, namespace), own)
    return made


def _flat(tools: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    for i, tool in enumerate(tools):
        where = f"tools[{i}]"
        if tool.get("type") != "namespace":
            yield where, tool, None
            continue
        name = _name(tool, where)
        inside = tool.get("tools")
        if not isinstance(inside, list) or not all(isinstance(each, dict) for each in inside):
            raise _bad(f"{where}.tools", "must be a list of tools")
        for j, each in enumerate(inside):
            yield f"{where}.tools[{j}]", each, name


def _function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = tool.get("parameters")
    if not isinstance(parameters, dict | None):
        raise _bad(f"{where}.parameters", "must be a JSON schema (an object)")
    function: dict[str, Any] = {"name": _name(tool, where)}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    function["parameters"] = parameters or {"type": "object", "properties": {}}
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return function


def custom_function(tool: dict[str, Any], where: str) -> dict[str, Any]:
    """A custom tool as a function with one text. Raises BadRequest."""
    name = _name(tool, where)
    form = tool.get("format") or {"type": "text"}
    description = tool.get("description")
    text = description if isinstance(description, str) else ""
    match form:
        case {"type": "text"}:
            pass
        case {"type": "grammar", "syntax": "lark" | "regex" as syntax, "definition": str(source)}:
            text += f"\n\nThe input must match this {syntax} grammar:\n{source}"
        case _:
            raise _bad(f"{where}.format", "must be text, or a grammar with syntax and definition")
    return {
        "name": name,
        "description": text.strip(),
        "parameters": {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
        },
    }


def _name(tool: dict[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise _bad(f"{where}.name", "must be a name")
    return name


def read_choice(choice: Any, tools: Tools) -> Choice:
    """Raises BadRequest for a choice that nothing can satisfy."""
    match choice:
        case None | "auto":
            return Choice("auto", None, tools)
        case "none":
            return Choice("none", None, tools)
        case "required":
            return Choice("required", None, _some(tools, "tool_choice"))
        case {"type": "function" | "custom" as kind, "name": str(name)}:
            namespace = choice.get("namespace")
            own = tools.name_of(name, namespace if isinstance(namespace, str) else None)
            if own not in tools.known or tools.known[own].kind != kind:
                raise _bad("tool_choice.name", f"names no {kind} tool: '{name[:100]}'")
            return Choice("required", own, tools)
        case {"type": "allowed_tools", "tools": list(allowed)}:
            mode = choice.get("mode", "auto")
            if mode not in ("auto", "required"):
                raise _bad("tool_choice.mode", "must be auto or required")
            names, labels = _texts(allowed, "name"), _texts(allowed, "server_label")
            known = {own: tool for own, tool in tools.known.items() if tool.name in names}
            left = Tools(
                [each for each in tools.offered if _client_name(each, tools) in names],
                known,
                [each for each in tools.servers if each.label in labels],
                {key: own for key, own in tools.names.items() if own in known},
            )
            if mode == "required":
                return Choice("required", None, _some(left, "tool_choice.tools"))
            return Choice("auto", None, left)
        case {"type": "mcp", "server_label": str(label)}:
            if label not in {each.label for each in tools.servers}:
                raise _bad("tool_choice.server_label", f"names no mcp tool: '{label[:100]}'")
            name = choice.get("name")
            return Choice("required", f"{label}__{name}" if isinstance(name, str) else None, tools)
        case {"type": str(kind)}:
            raise _bad("tool_choice.type", f"'{kind[:100]}' is not available here")
    raise _bad("tool_choice", "must be auto, none, required or name a tool")


def _texts(entries: list[Any], key: str) -> set[str]:
    found = (each.get(key) for each in entries if isinstance(each, dict))
    return {text for text in found if isinstance(text, str)}


def _client_name(offered: dict[str, Any], tools: Tools) -> str:
    return tools.known[offered["function"]["name"]].name


def _some(tools: Tools, where: str) -> Tools:
    if not tools.known and not tools.servers:
        raise _bad(where, "needs tools that are available here")
    return tools


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
