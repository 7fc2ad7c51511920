"""fastmlx's own endpoints: health, metrics, status, load and unload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import ModelNotFound
from ..tasks.lookup import find_model
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("native")


@blueprint.route("/health", methods=["GET", "HEAD"], name="health")
async def health(request: Request) -> HTTPResponse:
    return json_reply({"status": "ok"})


@blueprint.get("/version", name="version")
async def version(request: Request) -> HTTPResponse:
    """As vLLM says it; benchmarks note it."""
    return json_reply({"version": request.app.ctx.front.version})


@blueprint.route("/metrics", methods=["GET", "HEAD"], name="metrics")
async def metrics(request: Request) -> HTTPResponse:
    text, content_type = request.app.ctx.metrics.render()
    return HTTPResponse(text, content_type=content_type)


@blueprint.get("/api/status", name="status")
async def status(request: Request) -> HTTPResponse:
    return json_reply(request.app.ctx.front.status())


@blueprint.post("/api/models/<name:path>/load", name="load")
async def load(request: Request, name: str) -> HTTPResponse:
    """Answers when the model is ready, or with the reason why it cannot be."""
    front: Front = request.app.ctx.front
    declared = _declared(front, name)
    await front.supervisor.load(declared)
    return json_reply(_model(front, declared))


@blueprint.post("/api/models/<name:path>/unload", name="unload")
async def unload(request: Request, name: str) -> HTTPResponse:
    """Answers when the engine is gone; requests that run are ended first."""
    front: Front = request.app.ctx.front
    declared = _declared(front, name)
    await front.supervisor.unload(declared)
    return json_reply(_model(front, declared))


def _declared(front: Front, name: str) -> str:
    """The declared name behind a name or an alias. Raises ModelNotFound."""
    return find_model(front.config.settings, unquote(name)).name


def _model(front: Front, name: str) -> dict[str, Any]:
    for model in front.status()["models"]:
        if model["name"] == name:
            return model
    raise ModelNotFound(f"The model '{name}' was withdrawn meanwhile.")
