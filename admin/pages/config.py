"""`/admin/config`: the file as it is, what is wrong with it, and what waits for a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from ..render import respond, wanted_block
from ..source import source

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front


def add(pages: Blueprint) -> None:
    @pages.get("/config", name="config")
    async def config(request: Request) -> HTTPResponse:
        """A page, or the same as JSON for `Accept: application/json`."""
        front: Front = request.app.ctx.front
        if _wants_json(request.headers.get("accept", "")):
            content = msgspec.json.encode(front.status()["config"])
            return HTTPResponse(content, content_type="application/json")
        block = wanted_block(request, ("banner", "source"))
        values = {}
        if block != "banner":
            state = front.config
            values["source"] = await asyncio.to_thread(source, state.path, state.error)
        return respond(request, "config.html", block, values)


def _wants_json(accept: str) -> bool:
    kinds = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    return "application/json" in kinds and "text/html" not in kinds
