"""Responses' `mcp` tools: servers of mcp.json whose tools the daemon runs itself.

`server_label` names an entry of mcp.json. Other servers are not connected to: the daemon follows
its owner's file, not what a request says. Nobody is asked for an approval, so `require_approval`
must be `never`.

Source: https://platform.openai.com/docs/guides/tools-connectors-mcp
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.errors import BadRequest
from ..protocol.requests import McpWanted

if TYPE_CHECKING:
    from ..mcp.connection import McpTool
    from ..mcp.servers import McpServers


class McpServer(NamedTuple):
    """One `mcp` tool of a request."""

    where: str
    label: str
    url: str | None
    allowed: tuple[str, ...] | None  # None: all of its tools


def read_mcp(tool: dict[str, Any], where: str) -> McpServer:
    """Raises BadRequest."""
    label, url = tool.get("server_label"), tool.get("server_url")
    if not isinstance(label, str) or not label:
        raise _bad(f"{where}.server_label", "must be the name of a server in mcp.json")
    if tool.get("connector_id") is not None:
        raise _bad(f"{where}.connector_id", "names a service of OpenAI, which is not available")
    if tool.get("require_approval") != "never":
        raise _bad(f"{where}.require_approval", "must be never: fastmlx asks nobody")
    if not isinstance(url, str | None):
        raise _bad(f"{where}.server_url", "must be a string")
    match tool.get("allowed_tools"):
        case None:
            allowed = None
        case list(names) | {"tool_names": list(names)}:
            allowed = tuple(name for name in names if isinstance(name, str))
        case _:
            raise _bad(f"{where}.allowed_tools", "must be a list of names")
    return McpServer(where, label, url, allowed)


def wanted(servers: Iterable[McpServer], max_calls: int | None = None) -> McpWanted | None:
    """What the tool loop is asked for; `max_calls` of all tools together."""
    listed = list(servers)
    if not listed:
        return None
    allowed = {each.label: each.allowed for each in listed if each.allowed is not None}
    return McpWanted(
        servers=tuple(each.label for each in listed), allowed=allowed, max_calls=max_calls
    )


def check_servers(servers: Iterable[McpServer], declared: McpServers) -> None:
    """Raises ToolNotFound, and BadRequest for a URL that is not the declared server's."""
    for each in servers:
        spec = declared.find(each.label).spec
        if each.url is not None and each.url.rstrip("/") != spec.url.rstrip("/"):
            raise _bad(
                f"{each.where}.server_url",
                f"is not that of '{each.label[:100]}' in mcp.json; leave it out, or declare it",
            )


def list_item(label: str, tools: Iterable[McpTool]) -> dict[str, Any]:
    """The item that tells the client what a server offers."""
    told = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.input_schema,
            "annotations": None,
        }
        for tool in tools
        if tool.server == label
    ]
    return {"type": "mcp_list_tools", "server_label": label, "tools": told, "error": None}


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
