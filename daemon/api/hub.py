"""fastmlx's own endpoints of models on this machine and on the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import unquote

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..hub import discover
from ..hub.remote import MAX_RESULTS, Format, Sort
from ..protocol.errors import BadRequest
from ..tasks import hub
from .query import number
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("hub")


@blueprint.get("/api/discovered", name="discovered")
async def discovered(request: Request) -> HTTPResponse:
    """Models on this machine that could be added to config.yaml, in the places of `discover:`."""
    front = _front(request)
    survey = await discover.survey(front.config.settings)
    return json_reply(discover.as_json(survey, front.supervisor.memory_limit_bytes))


@blueprint.get("/api/hub/search", name="search")
async def search(request: Request) -> HTTPResponse:
    """Models on the Hub: `q`, `format` (mlx, safetensors), `sort`, `limit`; each with whether it
    fits on the disk and in memory, and whether it is here."""
    words = request.args.get("q", "").strip()
    format = _one_of(request, "format", Format)
    sort = _one_of(request, "sort", Sort)
    limit = number(request.args, "limit", 30, least=1, most=MAX_RESULTS)
    return json_reply(await hub.search(_front(request), words[:200], format, sort, limit))


@blueprint.get("/api/hub/models", name="on_disk")
async def models(request: Request) -> HTTPResponse:
    """What is in the Hub's cache on this machine, and what deleting it would free."""
    return json_reply({"models": [_shown(found) for found in await hub.models(_front(request))]})


@blueprint.get("/api/hub/models/<id:path>", name="one_on_disk")
async def model(request: Request, id: str) -> HTTPResponse:
    return json_reply(_shown(await hub.find(_front(request), unquote(id))))


@blueprint.delete("/api/hub/models/<id:path>", name="delete")
async def delete(request: Request, id: str) -> HTTPResponse:
    """Of the cache; with `commit` one snapshot alone. Refused while config.yaml names the model,
    unless `confirm` is true: then its engines are stopped first."""
    commit = request.args.get("commit") or None
    confirmed = request.args.get("confirm", "").lower() in ("true", "1", "yes")
    freed = await hub.delete(_front(request), unquote(id), commit, confirmed=confirmed)
    return json_reply({"id": unquote(id), "commit": commit, "freed_bytes": freed})


def _one_of(request: Request, name: str, choices: Any) -> Any:
    """The first choice unless the query has another."""
    known = get_args(choices)
    chosen = request.args.get(name, known[0])
    if chosen not in known:
        raise BadRequest(f"{name} must be one of {', '.join(known)}.", param=name)
    return chosen


def _shown(found: hub.Deletable) -> dict[str, Any]:
    rest = {"declared": found.declared, "loaded": found.loaded}
    return msgspec.to_builtins(found.model) | rest


def _front(request: Request) -> Front:
    return request.app.ctx.front
