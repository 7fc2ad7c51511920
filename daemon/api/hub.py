"""fastmlx's own endpoints of models on this machine and on the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..hub import discover

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("hub")


@blueprint.get("/api/discovered", name="discovered")
async def discovered(request: Request) -> HTTPResponse:
    """Models on this machine that could be added to config.yaml, in the places of `discover:`."""
    front: Front = request.app.ctx.front
    survey = await discover.survey(front.config.settings)
    return _json(discover.as_json(survey, front.supervisor.memory_limit_bytes))


def _json(value: Any) -> HTTPResponse:
    return HTTPResponse(msgspec.json.encode(value), content_type="application/json")
