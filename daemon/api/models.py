"""GET /v1/models and /v1/models/{id}: what is declared, by every name it answers to.

Clients that send `anthropic-version` get Anthropic's shape (`anthropic_models`), others OpenAI's.

Source: https://platform.openai.com/docs/api-reference/models; `max_model_len` and `parent`
(of an adapter) are vLLM's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sanic import Blueprint
from sanic.response import HTTPResponse

from ..tasks.lookup import allowed_models, find_model
from .anthropic_errors import speaks_anthropic
from .anthropic_models import model_info, page
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ...config.settings import ModelSpec, Settings
    from ..tasks.front import Front

blueprint = Blueprint("models")


async def model_objects(front: Front, settings: Settings) -> list[dict[str, Any]]:
    """Declared models in their order, each followed by its aliases and adapters: those that the
    caller may use."""
    models = allowed_models(settings)
    capabilities = await front.capabilities.of(models)
    return list(_objects(front, models, capabilities))


def _objects(
    front: Front, models: dict[str, ModelSpec], capabilities: dict[str, list[str]]
) -> Iterator[dict[str, Any]]:
    statuses = {status.name: status for status in front.supervisor.status()}
    for name, spec in models.items():
        status = statuses.get(name)
        context = spec.context if isinstance(spec.context, int) else None
        if status is not None and status.context is not None:
            context = status.context
        adapted = {f"{name}:{adapter}" for adapter in spec.named_adapters}
        state = str(status.state) if status is not None else "stopped"
        aliases = [alias for alias in spec.aliases if "*" not in alias]
        for each in (name, *aliases, *sorted(adapted)):
            yield {
                "id": each,
                "object": "model",
                "created": int(front.started_at),
                "owned_by": "fastmlx",
                "root": name,
                "parent": name if each in adapted else None,
                "aliases": list(spec.aliases),
                "max_model_len": context,
                "context_length": context,
                "max_input_tokens": context,
                "capabilities": capabilities[name],
                "state": state,
                "loaded": state == "ready",
            }


@blueprint.get("/v1/models", name="list")
async def list_models(request: Request) -> HTTPResponse:
    """What is declared, by every name; in Anthropic's shape for its clients."""
    front: Front = request.app.ctx.front
    data = await model_objects(front, front.config.settings)
    if speaks_anthropic(request.path, request.headers):
        return json_reply(page(data, request.args))
    return json_reply({"object": "list", "data": data})


@blueprint.get("/v1/models/<model_id:path>", name="one")
async def one_model(request: Request, model_id: str) -> HTTPResponse:
    """One of them."""
    front: Front = request.app.ctx.front
    settings, wanted = front.config.settings, unquote(model_id)
    name = find_model(settings, wanted).name
    models = {model["id"]: model for model in await model_objects(front, settings)}
    # A name may match an alias with a *, which the list leaves out.
    model = models.get(wanted) or models[name] | {"id": wanted}
    anthropic = speaks_anthropic(request.path, request.headers)
    return json_reply(model_info(model) if anthropic else model)
