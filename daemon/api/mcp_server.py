"""This daemon as an MCP server: streamable HTTP at /mcp, without sessions.

The protocol is the SDK's (package `mcp`), which is imported with the first request: it takes some
30 MB and a second. It answers every version from 2024-11-05 on; long calls are kept alive by pings.

Source: https://modelcontextprotocol.io/specification/2025-06-18/basic/transports
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint

from ..protocol.errors import BadRequest, FastMLXError
from ..tasks.mcp_tools import TOOLS
from .body import read_json
from .mcp_bridge import answer
from .reply import json_reply

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult
    from sanic import Request, Sanic
    from sanic.response import HTTPResponse

    from ..tasks.front import Front

log = logging.getLogger(__name__)

blueprint = Blueprint("mcp_server")

INVALID = -32600  # JSON-RPC: not a request
INSTRUCTIONS = "Language models that run on this machine: see what there is, load, ask, embed."


@blueprint.post("/mcp", name="mcp")
async def mcp(request: Request) -> HTTPResponse | None:
    """The Model Context Protocol: tools list_models, load, unload, generate, embed, usage."""
    # No GET and no DELETE: there are no sessions to listen to or to end; the protocol wants a 405.
    try:
        read_json(request.body)  # what the SDK makes of very many values would hold up everybody
    except BadRequest as error:
        told = {"code": INVALID, "message": error.message}
        return json_reply({"jsonrpc": "2.0", "id": None, "error": told}, status=400)
    endpoint = request.app.ctx.mcp_endpoint
    return await answer(request, await endpoint.app())


@blueprint.before_server_start
async def _start(app: Sanic[Any, Any]) -> None:
    app.ctx.mcp_endpoint = Endpoint(app.ctx.front)


@blueprint.after_server_stop
async def _stop(app: Sanic[Any, Any]) -> None:
    await app.ctx.mcp_endpoint.close()


class Endpoint:
    """The SDK's server, once somebody asks. One task owns it, as its cancel scopes require."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._stopping = asyncio.Event()

    async def app(self) -> Any:
        """The ASGI application."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._own(self._ready), name="mcp server")
        manager = await asyncio.shield(self._ready)
        return manager.handle_request

    async def close(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _own(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        try:
            # A second of importing, while others are served.
            await asyncio.to_thread(importlib.import_module, "mcp.server.streamable_http_manager")
            manager = make_manager(self._front)
            async with manager.run():
                ready.set_result(manager)
                await self._stopping.wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)


def make_manager(front: Front) -> StreamableHTTPSessionManager:
    """Whether a request may come in at all is not asked here: `site` checks Host and Origin."""
    import mcp_types as types
    from mcp import MCPError
    from mcp.server import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    listed = [
        types.Tool(
            name=name,
            description=tool.description,
            input_schema=tool.schema,
            annotations=types.ToolAnnotations(
                read_only_hint=tool.read_only, destructive_hint=name == "unload"
            ),
        )
        for name, tool in TOOLS.items()
    ]

    async def list_tools(_: ServerRequestContext[Any], __: Any) -> ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(
        _: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            message = f"There is no tool '{params.name[:100]}'."
            raise MCPError(types.INVALID_PARAMS, message)
        try:
            found = await tool.run(front, params.arguments or {})
        except FastMLXError as error:
            return types.CallToolResult(content=[_text(error.message)], is_error=True)
        except Exception:
            log.exception("the tool %s failed", params.name)
            said = "Something went wrong inside fastmlx; its log tells more."
            return types.CallToolResult(content=[_text(said)], is_error=True)
        # Who knows no structured content reads the answer's text, or all of it as JSON.
        text = found["text"] if params.name == "generate" else msgspec.json.encode(found).decode()
        return types.CallToolResult(content=[_text(text)], structured_content=found)

    def _text(text: str) -> types.TextContent:
        return types.TextContent(type="text", text=text)

    server = Server(
        "fastmlx",
        version=front.version,
        title="fastmlx",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    return StreamableHTTPSessionManager(
        server,
        stateless=True,
        max_request_body_size=front.config.settings.server.max_request_size,
    )
