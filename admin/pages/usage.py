"""`/admin/usage`: what each model and each API key has used, by day, week or month; also as CSV."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request, SanicException
from sanic.response import HTTPResponse

from ...daemon.store import queries
from ...daemon.store.database import StoreUnavailable
from ..render import respond, wanted_block
from ..usage import BY, DEFAULT_PERIOD, PERIODS, days, draw, milliseconds_of, starts, table

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front


def add(pages: Blueprint) -> None:
    @pages.get("/usage", name="usage")
    async def page(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        period = PERIODS.get(request.args.get("range", ""), PERIODS[DEFAULT_PERIOD])
        by = request.args.get("by", "")
        by = by if by in BY else BY[0]
        block = wanted_block(request, ("banner", "usage"))
        values: dict[str, Any] = {
            "here": f"/admin/usage?range={period.key}&by={by}",
            "periods": list(PERIODS.values()),
            "chosen": period,
            "by": by,
            "bys": BY,
        }
        if block != "banner":
            begins = starts(period, datetime.now())
            order = list(front.config.settings.models) if by == "model" else []
            try:
                used = await front.store.read(queries.used, milliseconds_of(begins))
                values |= {"usage": draw(used, period, begins, by, order), "problem": None}
            except StoreUnavailable as error:
                values |= {"usage": None, "problem": str(error)}
        return respond(request, "usage.html", block, values)

    @pages.get("/usage.csv", name="usage_csv")
    async def as_csv(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        period = PERIODS.get(request.args.get("range", ""), PERIODS[DEFAULT_PERIOD])
        each_day = days(period, datetime.now())
        try:
            used = await front.store.read(queries.used, milliseconds_of(each_day))
        except StoreUnavailable as error:
            raise SanicException(str(error), status_code=503) from error
        name = f"fastmlx-usage-{each_day[0]:%Y-%m-%d}.csv"
        return HTTPResponse(
            table(used),
            headers={"content-disposition": f'attachment; filename="{name}"'},
            content_type="text/csv; charset=utf-8",
        )
