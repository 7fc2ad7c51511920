"""`/admin/mcp`: the MCP servers of mcp.json, their tools, and a button that connects anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...daemon.mcp.connection import State
from ...daemon.protocol.errors import ToolNotFound
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

# State → the colours of admin.css, which are those of models.
TONES = {
    State.READY: "ready",
    State.CONNECTING: "starting",
    State.WAITING: "failed",
    State.STOPPED: "stopped",
    State.DISABLED: "stopped",
}


def add(pages: Blueprint) -> None:
    @pages.get("/mcp", name="mcp")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        block = wanted_block(request, ("banner", "mcp"))
        values = {"servers": front.mcp.connections, "tones": TONES}
        return respond(request, "mcp.html", block, values)

    @pages.post("/mcp/reconnect", name="reconnect_mcp")
    async def reconnect(request: Request) -> HTTPResponse:
        """Of the server in the form. A click without JavaScript comes back to the page."""
        front: Front = request.app.ctx.front
        name = request.form.get("server") if request.form else None
        if name is None:
            raise ToolNotFound("The form names no server.", param="server")
        front.mcp.find(name).reconnect()
        return redirect("/admin/mcp", status=303)
