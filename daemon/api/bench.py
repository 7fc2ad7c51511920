"""fastmlx's own endpoints of benchmarks: one at a time, in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import Overloaded
from ..store import bench_runs
from ..store.database import StoreUnavailable
from ..tasks.bench import Plan
from .body import convert, read_json
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("bench")


@blueprint.get("/api/bench", name="runs")
async def runs(request: Request) -> HTTPResponse:
    """The run that is under way or was the last one, and what was kept, newest first."""
    front: Front = request.app.ctx.front
    try:
        kept = await front.store.read(bench_runs.runs)
    except StoreUnavailable as error:
        raise Overloaded(str(error)) from error
    return json_reply({"current": front.benchmarks.current, "runs": kept})


@blueprint.post("/api/bench", name="start", ctx_body=Plan)
async def start(request: Request) -> HTTPResponse:
    """Answers at once; `GET /api/bench` tells how far it has come."""
    front: Front = request.app.ctx.front
    return json_reply(front.benchmarks.start(convert(read_json(request.body), Plan)))


@blueprint.post("/api/bench/cancel", name="cancel")
async def cancel(request: Request) -> HTTPResponse:
    """Nothing of the run is kept."""
    front: Front = request.app.ctx.front
    await front.benchmarks.cancel()
    return json_reply(front.benchmarks.current)
