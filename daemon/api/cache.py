"""fastmlx's own endpoints of the prefix cache: what it holds, and emptying it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..tasks import cache
from .body import convert, read_json
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("cache")


class Clear(msgspec.Struct):
    """Body of `POST /api/cache/clear`; an empty one clears everything."""

    model: str | None = None  # declared, or only left on disk; null: all of them
    hot: bool = True
    cold: bool = True


@blueprint.get("/api/cache", name="books")
async def books(request: Request) -> HTTPResponse:
    return json_reply(await cache.books(request.app.ctx.front))


@blueprint.post("/api/cache/clear", name="clear", ctx_body=Clear)
async def clear(request: Request) -> HTTPResponse:
    """Answers when the disk is cleared and the engines were told."""
    front: Front = request.app.ctx.front
    asked = convert(read_json(request.body or b"{}"), Clear)
    deleted = await cache.clear(front, asked.model, hot=asked.hot, cold=asked.cold)
    return json_reply({"model": asked.model, "deleted_blocks": deleted})
