"""`/admin/`: what runs, what has happened, what went wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from ..activity import DEFAULT_RANGE, RANGES, ActivityReader, Range
from ..model_row import model_rows
from ..render import respond, wanted_block

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front
    from ..actions import Actions

BLOCKS = ("banner", "models", "running", "activity")
VIEWS = ("plot", "table")


def add(pages: Blueprint, actions: Actions) -> None:
    reader = ActivityReader()

    @pages.route("/", methods=["GET", "HEAD"], name="overview")
    async def overview(request: Request) -> HTTPResponse:
        front: Front = request.app.ctx.front
        chosen = RANGES.get(request.args.get("range", ""), RANGES[DEFAULT_RANGE])
        view = request.args.get("view", "")
        view = view if view in VIEWS else VIEWS[0]
        block = wanted_block(request, BLOCKS)
        values: dict[str, Any] = {"here": f"/admin/?range={chosen.key}&view={view}"}
        if block in (None, "models"):
            values |= _models(front, actions)
        if block in (None, "running"):
            values["requests"] = front.running.look()
        if block in (None, "activity"):
            values |= await _activity(front, reader, chosen, view)
        return respond(request, "overview.html", block, values)


def _models(front: Front, actions: Actions) -> dict[str, Any]:
    models = front.supervisor.status()
    return {
        "rows": model_rows(
            models,
            front.config.settings.models,
            {model.name: actions.failure(model.name) for model in models},
        ),
        "limit_bytes": front.supervisor.memory_limit_bytes,
        "used_bytes": sum(model.memory_bytes for model in models),
        "running": sum(model.requests_running for model in models),
        "waiting": sum(model.requests_waiting for model in models),
        "tokens_per_s": sum(model.tokens_per_s for model in models),
        # In whole minutes: a page of an idle server does not change all the time.
        "uptime_s": (time.time() - front.started_at) // 60 * 60,
    }


async def _activity(
    front: Front, reader: ActivityReader, chosen: Range, view: str
) -> dict[str, Any]:
    names = [model.name for model in front.supervisor.status()]
    activity, problem = await reader.read(front.store, chosen, names)
    return {
        "activity": activity,
        "activity_problem": problem,
        "ranges": list(RANGES.values()),
        "chosen": chosen,
        "view": view,
    }
