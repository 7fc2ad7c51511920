"""Anthropic's MCP connector: `mcp_servers`, which must be servers of mcp.json, and `mcp_toolset`.

A server is meant by its name in mcp.json or by its URL. Others are not connected to, nor is a token
used that a request brings: the daemon follows its owner's file.

Source: https://platform.claude.com/docs/en/agents-and-tools/mcp-connector
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..mcp.names import function_name
from ..protocol.errors import BadRequest
from ..protocol.events import McpCall
from ..protocol.requests import McpWanted
from .body import convert

if TYPE_CHECKING:
    from ..mcp.servers import McpServers

Block = dict[str, Any]


class _Configuration(msgspec.Struct):
    enabled: bool | None = None
    allowed_tools: list[str] | None = None


class McpServerFields(msgspec.Struct):
    """An entry of `mcp_servers`."""

    name: str
    url: str | None = None
    authorization_token: str | None = None
    tool_configuration: _Configuration | None = None


class _Toolset(msgspec.Struct):
    mcp_server_name: str
    default_config: _Configuration | None = None
    configs: dict[str, _Configuration | None] | None = None


class McpServer(NamedTuple):
    """A server that is asked for, and which of its tools."""

    where: str
    name: str  # the client's
    url: str
    allowed: tuple[str, ...] | None  # None: all of its tools
    denied: tuple[str, ...] = ()


def read_servers(
    servers: Sequence[McpServerFields] | None, tools: Sequence[dict[str, Any]] | None
) -> list[McpServer]:
    """Those that are not turned off. Raises BadRequest."""
    found: dict[str, McpServer] = {}
    for number, each in enumerate(servers or ()):
        where = f"mcp_servers.{number}"
        if each.authorization_token is not None:
            raise _bad(f"{where}.authorization_token", "is not used: mcp.json says how to connect")
        config = each.tool_configuration or _Configuration()
        allowed = None if config.allowed_tools is None else tuple(config.allowed_tools)
        if config.enabled is False:
            allowed = ()
        found[each.name] = McpServer(where, each.name, each.url or "", allowed)
    for number, tool in enumerate(tools or ()):
        if tool.get("type") == "mcp_toolset":
            toolset = convert(tool, _Toolset)
            server = found.get(toolset.mcp_server_name)
            if server is None:
                where = f"tools.{number}.mcp_server_name"
                raise _bad(where, "must be the name of one of mcp_servers")
            found[server.name] = _chosen(server, toolset)
    return [each for each in found.values() if each.allowed is None or each.allowed]


def _chosen(server: McpServer, toolset: _Toolset) -> McpServer:
    default = toolset.default_config is None or toolset.default_config.enabled is not False
    said = {
        name: default if config is None or config.enabled is None else config.enabled
        for name, config in (toolset.configs or {}).items()
    }
    if default:
        return server._replace(denied=tuple(name for name, enabled in said.items() if not enabled))
    return server._replace(allowed=tuple(name for name, enabled in said.items() if enabled))


class Asked(NamedTuple):
    """Servers of mcp.json, and what the client calls them."""

    wanted: McpWanted | None
    labels: dict[str, str]  # the name in mcp.json → the client's


def declared(asked: Sequence[McpServer], servers: McpServers) -> Asked:
    """Raises BadRequest for a server that mcp.json does not declare."""
    labels: dict[str, str] = {}
    allowed: dict[str, tuple[str, ...]] = {}
    denied: dict[str, tuple[str, ...]] = {}
    for each in asked:
        name = _declared(each, servers)
        labels[name] = each.name
        if each.allowed is not None:
            allowed[name] = each.allowed
        if each.denied:
            denied[name] = each.denied
    if not labels:
        return Asked(None, {})
    return Asked(McpWanted(servers=tuple(labels), allowed=allowed, denied=denied), labels)


def _declared(asked: McpServer, servers: McpServers) -> str:
    url = asked.url.rstrip("/")
    known = {each.name: each.spec.url.rstrip("/") for each in servers.connections}
    if asked.name in known and url in ("", known[asked.name]):
        return asked.name
    for name, its_url in known.items():
        if url and url == its_url:
            return name
    if asked.name in known:
        raise _bad(f"{asked.where}.url", "is not that of this server in mcp.json; leave it empty")
    raise _bad(f"{asked.where}", f"'{asked.name[:100]}' is no server of mcp.json, by name or url")


# ---- answers


def use_block(call: McpCall, labels: dict[str, str]) -> Block:
    """Without the arguments."""
    return {
        "type": "mcp_tool_use",
        "id": _use_id(call),
        "name": call.name,
        "server_name": labels.get(call.server, call.server),
        "input": {},
    }


def result_block(call: McpCall) -> Block:
    return {
        "type": "mcp_tool_result",
        "tool_use_id": _use_id(call),
        "is_error": call.status != "completed",
        "content": [{"type": "text", "text": call.output}],
    }


def _use_id(call: McpCall) -> str:
    return "mcptoolu_" + call.id.removeprefix("call_")


# ---- what went before


def read_use(block: Block, where: str) -> dict[str, Any]:
    """A call that the daemon made, under the name that the model saw. Raises BadRequest."""
    identity, name, server = (block.get(key) for key in ("id", "name", "server_name"))
    if not isinstance(identity, str) or not isinstance(name, str) or not isinstance(server, str):
        raise _bad(where, "needs id, name and server_name")
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    function = {"name": function_name(server, name), "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
