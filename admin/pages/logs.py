"""`/admin/logs`: the last entries of the daemon's log, as they are written, and where to look for
one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from ...daemon.logs.entry import LEVELS, Wanted, visible
from ..log_reader import LogReader, LogTail
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

MAX_TEXT = 300


def add(pages: Blueprint) -> None:
    reader = LogReader()

    @pages.get("/logs", name="logs")
    async def logs(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        said = {
            name: request.args.get(name, "").strip()[:MAX_TEXT]
            for name in ("level", "model", "id", "text")
        }
        if said["level"] not in LEVELS:
            said["level"] = ""
        wanted = Wanted(
            said["level"] or LEVELS[0],
            said["id"] or None,
            said["model"] or None,
            said["text"] or None,
        )
        block = wanted_block(request, ("banner", "log"))
        tail = LogTail([], None)
        if block != "banner":
            tail = await asyncio.to_thread(reader.read, front.home.log_file, wanted)
        query = urlencode({name: value for name, value in said.items() if value})
        values = {
            "log": tail,
            "said": said,
            "levels": LEVELS,
            "models": list(front.config.settings.models),
            "visible": visible,
            "here": "/admin/logs" + (f"?{query}" if query else ""),
        }
        return respond(request, "logs.html", block, values)
