"""fastmlx's own endpoints of downloads from the Hub: start, watch, pause, resume, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..hub.downloads import listed
from .body import convert, read_json
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..hub.download import Download
    from ..hub.downloads import Downloads

blueprint = Blueprint("downloads")


class Wanted(msgspec.Struct):
    """Body of `POST /api/downloads`."""

    id: str  # organisation/name on the Hub
    revision: str | None = None  # branch, tag or commit; null: main


@blueprint.get("/api/downloads", name="all")
async def all_downloads(request: Request) -> HTTPResponse:
    """Those that run, wait, are paused or failed, and the last that are done; the newest first."""
    return json_reply({"downloads": listed(_downloads(request))})


@blueprint.post("/api/downloads", name="start", ctx_body=Wanted)
async def start(request: Request) -> HTTPResponse:
    """Answers when the Hub has said what the model is made of; then it is being fetched. One that
    was begun before goes on."""
    wanted = convert(read_json(request.body), Wanted)
    return _one(await _downloads(request).start(wanted.id, wanted.revision))


@blueprint.get("/api/downloads/<id:str>", name="one")
async def one(request: Request, id: str) -> HTTPResponse:
    return _one(_downloads(request).find(id))


@blueprint.post("/api/downloads/<id:str>/pause", name="pause")
async def pause(request: Request, id: str) -> HTTPResponse:
    """What is here stays."""
    return _one(_downloads(request).pause(id))


@blueprint.post("/api/downloads/<id:str>/resume", name="resume")
async def resume(request: Request, id: str) -> HTTPResponse:
    """Goes on at the byte where it stopped."""
    return _one(_downloads(request).resume(id))


@blueprint.post("/api/downloads/<id:str>/cancel", name="cancel")
async def cancel(request: Request, id: str) -> HTTPResponse:
    """Takes it off the list, and deletes what it has fetched unless it is done."""
    download = await _downloads(request).cancel(id)
    return json_reply(download.as_json() | {"state": "cancelled"})


def _downloads(request: Request) -> Downloads:
    return request.app.ctx.front.downloads


def _one(download: Download) -> HTTPResponse:
    return json_reply(download.as_json())
