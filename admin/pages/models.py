"""The buttons of a model. They are forms: a click without JavaScript comes back to the page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, redirect

from ...daemon.tasks.lookup import find_model
from ..activity import DEFAULT_RANGE, RANGES

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front
    from ..actions import Actions


def add(pages: Blueprint, actions: Actions) -> None:
    @pages.post("/models/<name:path>/load", name="load")
    async def load(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = find_model(front.config.settings, unquote(name)).name
        await actions.start(model, front.supervisor.load(model))
        return _back(request)

    @pages.post("/models/<name:path>/unload", name="unload")
    async def unload(request: Request, name: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        model = find_model(front.config.settings, unquote(name)).name
        await actions.start(model, front.supervisor.unload(model))
        return _back(request)


def _back(request: Request) -> HTTPResponse:
    """303: the browser GETs the page, and reloading it does not press the button again."""
    chosen = request.args.get("range", "")
    suffix = f"?range={chosen}" if chosen in RANGES and chosen != DEFAULT_RANGE else ""
    return redirect(f"/admin/{suffix}", status=303)
