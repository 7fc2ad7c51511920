"""`/admin/requests`: what was asked lately, and how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from ...daemon.store import queries
from ...daemon.store.database import StoreUnavailable
from ...daemon.store.rows import Page
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front

PER_PAGE = 50


def add(pages: Blueprint) -> None:
    @pages.get("/requests", name="requests")
    async def requests(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        before = _mark(request.args.get("before", ""))
        block = wanted_block(request, ("banner", "requests"))
        page, problem = Page([], None), None
        if block != "banner":
            try:
                page = await front.store.read(queries.recent, PER_PAGE, before)
            except StoreUnavailable as error:
                problem = str(error)
        here = "/admin/requests" if before is None else f"/admin/requests?before={before}"
        values = {"page": page, "problem": problem, "before": before, "here": here}
        return respond(request, "requests.html", block, values)


def _mark(text: str) -> int | None:
    """A mark of `Page.older`; anything else is the first page."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
