"""The Sanic application: all dialects, one shape of errors, one gate."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

from sanic import Sanic
from sanic.response import BaseHTTPResponse

from ..auth import cors_headers
from ..idle import Activity
from . import (
    anthropic_messages,
    bench,
    cache,
    conversations,
    downloads,
    errors,
    hub,
    keys,
    mcp,
    mcp_server,
    models,
    native,
    ollama_chat,
    ollama_embed,
    ollama_models,
    ollama_pull,
    openai_chat,
    openai_completions,
    openai_completions_kept,
    openai_embeddings,
    openapi,
    rerank,
    responses,
    responses_websocket,
    tokens,
)
from .completions_keeper import CompletionKeeper
from .gate import GatedRequest, gate
from .metrics import Metrics
from .signals import QuietSignals

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

BLUEPRINTS = (
    native.blueprint,
    cache.blueprint,
    bench.blueprint,
    hub.blueprint,
    keys.blueprint,
    downloads.blueprint,
    models.blueprint,
    openai_chat.blueprint,
    openai_completions.blueprint,
    openai_completions_kept.blueprint,
    anthropic_messages.blueprint,
    ollama_chat.blueprint,
    ollama_embed.blueprint,
    ollama_models.blueprint,
    ollama_pull.blueprint,
    openai_embeddings.blueprint,
    rerank.blueprint,
    tokens.blueprint,
    mcp.blueprint,
    mcp_server.blueprint,
    openapi.blueprint,
    responses.blueprint,
    responses_websocket.blueprint,
    conversations.blueprint,
)


def make_site(front: Front, metrics: Metrics) -> Sanic[Any, Any]:
    """An application that answers for `front`; pages of the admin are mounted by the caller."""
    # Sanic keeps its applications by name; tests have several.
    site: Sanic[Any, Any] = Sanic(
        f"fastmlx-{uuid.uuid4().hex}",
        configure_logging=False,
        request_class=GatedRequest,
        signal_router=QuietSignals(),
    )
    site.ctx.front = front
    site.ctx.metrics = metrics
    site.ctx.activity = Activity()
    site.config.update(
        {
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
            "TOUCHUP": False,  # it rewrites Sanic's own methods, which works once in a process
            "REQUEST_MAX_SIZE": front.config.settings.server.max_request_size,
            "REQUEST_MAX_HEADER_SIZE": 16384,
            "WEBSOCKET_MAX_SIZE": front.config.settings.server.max_request_size,
            "RESPONSE_TIMEOUT": math.inf,  # a model may load, and think, for as long as it takes
            "KEEP_ALIVE_TIMEOUT": 120,
        }
    )
    errors.install(site)
    responses.install(site, front)
    site.ctx.completions = CompletionKeeper(front)
    for blueprint in BLUEPRINTS:
        site.blueprint(blueprint)
    site.register_middleware(gate, "request")
    site.register_middleware(_stamp, "response")
    return site


async def _stamp(request: Request, response: BaseHTTPResponse) -> None:
    """On every response, streams included."""
    identity = str(request.id)
    response.headers["x-request-id"] = identity
    response.headers["request-id"] = identity
    origins = request.app.ctx.front.config.settings.server.cors_origins
    # The dashboard is for its own pages only: what it shows is not the API.
    own = request.path == "/admin" or request.path.startswith("/admin/")
    if origins and request.method != "OPTIONS" and not own:
        response.headers.update(cors_headers(request.headers, origins))
