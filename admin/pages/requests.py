"""`/admin/requests`: what was asked lately, and how it went; and one request with its timeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sanic import Blueprint, Request, SanicException
from sanic.response import HTTPResponse

from ...daemon.store import queries
from ...daemon.store.database import StoreUnavailable
from ...daemon.store.rows import Page
from ..render import respond, wanted_block
from ..request_filters import STATUSES, asked, mark
from ..timeline import settings, timeline

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ...daemon.store.rows import Filters, Mark
    from ...daemon.store.store import Store
    from ...daemon.tasks.front import Front

PER_PAGE = 50
KEPT_READS = 8

Log = tuple[Page, dict[str, list[str]]]


class _Reader:
    """Keeps the last reads: most polls find that nothing was recorded."""

    def __init__(self) -> None:
        self._reads: dict[object, tuple[object, Log]] = {}

    async def read(self, store: Store, before: Mark | None, filters: Filters, *, anew: bool) -> Log:
        """Raises StoreUnavailable."""
        key = (before, filters)
        state = (store, store.written, store.problem)
        known = self._reads.pop(key, None)
        if anew or known is None or known[0] != state:
            known = (state, await store.read(_log, before, filters))
        self._reads[key] = known
        if len(self._reads) > KEPT_READS:
            del self._reads[next(iter(self._reads))]
        return known[1]


def _log(connection: Connection, before: Mark | None, filters: Filters) -> Log:
    page = queries.recent(connection, PER_PAGE, before, filters)
    return page, {name: queries.seen(connection, name) for name in ("model", "dialect", "key")}


def add(pages: Blueprint) -> None:
    reader = _Reader()

    @pages.get("/requests", name="requests")
    async def requests(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        form = asked(lambda name: request.args.get(name, ""))
        before = mark(request.args.get("before", ""))
        block = wanted_block(request, ("banner", "requests"))
        page, choices, problem = Page([], None), {}, None
        if block != "banner":
            try:
                page, choices = await reader.read(
                    front.store, before, form.filters(), anew=block is None
                )
            except StoreUnavailable as error:
                problem = str(error)
        values = {
            "page": page,
            "choices": choices,
            "statuses": STATUSES,
            "asked": form,
            "problem": problem,
            "before": before,
            "here": form.address(before),
        }
        return respond(request, "requests.html", block, values)

    @pages.get("/requests/<request_id:path>", name="request")
    async def one(request: Request, request_id: str) -> HTTPResponse:
        front: Front = request.app.ctx.front
        request_id = unquote(request_id)
        block = wanted_block(request, ("banner", "request"))
        values: dict[str, Any] = {}
        if block != "banner":
            values = await _one(front, request_id)
        return respond(request, "request.html", block, {"request_id": request_id, **values})


async def _one(front: Front, request_id: str) -> dict[str, Any]:
    """Raises SanicException for a request that nobody knows (any more)."""
    running = [each for each in front.running.look() if each.request_id == request_id]
    try:
        rows = await front.store.read(queries.request, request_id)
    except StoreUnavailable as error:
        if not running:
            raise SanicException(str(error), status_code=503) from error
        rows = []
    if not rows and not running:
        raise SanicException("There is no such request.", status_code=404)
    return {
        "rows": rows,
        "running": running,
        "timeline": timeline(rows) if rows else None,
        "settings": settings(rows[0]) if rows else [],
    }
