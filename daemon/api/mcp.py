"""The tools of connected MCP servers: what there is, and calling one.

GET  /v1/mcp/servers     mcp.json, and how each of its servers is doing
GET  /v1/mcp/tools       [?server=NAME]
POST /v1/mcp/execute     {"name", "arguments": {}, "server": null, "timeout": null}
POST /v1/mcp/servers/{name}/reconnect
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..mcp.names import function_names
from ..protocol.errors import BadRequest
from .body import convert, read_json
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("mcp")


class Execute(msgspec.Struct, kw_only=True):
    """Body of `POST /v1/mcp/execute`. `name` is the tool's own, or the one that models see."""

    name: str
    arguments: dict[str, Any] | None = None
    server: str | None = None
    timeout: float | None = None  # seconds; at most mcp.timeout, which is the default


@blueprint.get("/v1/mcp/servers", name="servers")
async def servers(request: Request) -> HTTPResponse:
    front: Front = request.app.ctx.front
    return json_reply(front.mcp.status())


@blueprint.get("/v1/mcp/tools", name="tools")
async def tools(request: Request) -> HTTPResponse:
    """`function` is the name under which models see the tool."""
    front: Front = request.app.ctx.front
    wanted = request.args.get("server")
    if wanted is not None:
        front.mcp.find(wanted)  # or 404
    found = [
        {
            "server": tool.server,
            "name": tool.name,
            "function": function,
            "title": tool.title,
            "description": tool.description,
            "input_schema": tool.input_schema,
        }
        for function, tool in function_names(front.mcp.tools()).items()
        if wanted is None or tool.server == wanted
    ]
    return json_reply({"tools": found, "count": len(found)})


@blueprint.post("/v1/mcp/execute", name="execute", ctx_body=Execute)
async def execute(request: Request) -> HTTPResponse:
    """200 with the tool's answer, `is_error` when the tool says that it failed; otherwise an error:
    404 no such tool, 503 not connected, 504 no answer in time, 502 the server failed."""
    front: Front = request.app.ctx.front
    asked = convert(read_json(request.body), Execute)
    longest_s = front.config.settings.mcp.timeout
    timeout_s = longest_s if asked.timeout is None else asked.timeout
    if not 0 < timeout_s <= longest_s:
        raise BadRequest(
            f"timeout must be more than 0 and at most {longest_s:g} s (mcp.timeout).",
            param="timeout",
        )
    tool = front.mcp.tool(asked.name, asked.server)
    since = time.perf_counter()
    result = await front.mcp.call(tool, asked.arguments or {}, timeout_s)
    return json_reply(
        {
            "server": tool.server,
            "name": tool.name,
            "is_error": result.is_error,
            "text": result.text,
            "content": result.content,
            "structured_content": result.structured,
            "duration_ms": round((time.perf_counter() - since) * 1000, 1),
        }
    )


@blueprint.post("/v1/mcp/servers/<name:str>/reconnect", name="reconnect")
async def reconnect(request: Request, name: str) -> HTTPResponse:
    """Begins at once; does not wait for the end."""
    front: Front = request.app.ctx.front
    front.mcp.find(unquote(name)).reconnect()
    return json_reply(front.mcp.status())
