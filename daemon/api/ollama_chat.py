"""POST /api/chat and /api/generate, for clients that speak Ollama's API.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import uuid
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.requests import ChatRequest
from ..protocol.tap import Tap
from ..tasks.lookup import find_model
from .ollama_answer import NDJSON, Answer, AnswerLines, Envelope
from .ollama_fields import check_context
from .ollama_request import (
    CHAT_UNSUPPORTED,
    UNSUPPORTED,
    Asked,
    OllamaChatFields,
    OllamaGenerateFields,
    read_chat,
    read_generate,
)
from .sse import send_events

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

blueprint = Blueprint("ollama_chat")


@blueprint.post(
    "/api/chat", name="chat", ctx_body=OllamaChatFields, ctx_refused=tuple(CHAT_UNSUPPORTED)
)
async def chat(request: Request) -> HTTPResponse | None:
    """Ollama: the next message of a chat; without messages the model is loaded or unloaded."""
    settings = request.app.ctx.front.config.settings
    return await _answer(request, read_chat(request.body, settings, client=request.ip), chat=True)


@blueprint.post(
    "/api/generate", name="generate", ctx_body=OllamaGenerateFields, ctx_refused=tuple(UNSUPPORTED)
)
async def generate(request: Request) -> HTTPResponse | None:
    """Ollama: the answer to a prompt; without a prompt the model is loaded or unloaded."""
    settings = request.app.ctx.front.config.settings
    asked = read_generate(request.body, settings, client=request.ip)
    return await _answer(request, asked, chat=False)


async def _answer(request: Request, asked: Asked, *, chat: bool) -> HTTPResponse | None:
    front: Front = request.app.ctx.front
    identity = asked.request.meta.request_id if asked.request else uuid.uuid4().hex
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    envelope = Envelope(identity, asked.model, now, chat)
    if asked.request is None:
        return await _load(front, asked, envelope)
    await _check(front, asked)
    if isinstance(asked.request, ChatRequest):
        fitting = await front.generator.fit(asked.request) if asked.truncate else asked.request
        begin = partial(front.generator.chat, fitting)
    else:
        begin = partial(front.generator.complete, asked.request)
    if asked.stream:
        lines = AnswerLines(envelope)
        tap = Tap(lines.encode)
        await send_events(
            request,
            begin(tap),
            lines.encode,
            lines.encode_error,
            end=b"",
            heartbeat=lines.heartbeat,
            content_type=NDJSON,
            tap=tap,
        )
        return None
    answer = Answer(envelope)
    async with aclosing(begin()) as events:
        async for event in events:
            answer.add(event)
    return HTTPResponse(answer.encode(), content_type="application/json")


async def _load(front: Front, asked: Asked, envelope: Envelope) -> HTTPResponse:
    """A request that says nothing is about its model: `keep_alive` 0 unloads it."""
    name = find_model(front.config.settings, asked.served).name
    if asked.keep_alive_s == 0:
        await front.supervisor.unload(name)
        line = envelope.nothing_said("unload")
    else:
        async with front.supervisor.lease(name, keep_alive_s=asked.keep_alive_s):
            line = envelope.nothing_said("load")
    return HTTPResponse(line, content_type=NDJSON if asked.stream else "application/json")


async def _check(front: Front, asked: Asked) -> None:
    """What depends on the model. Raises BadRequest, ModelNotFound, ModelFailed."""
    if asked.options.num_ctx is None and not asked.thinks:
        return
    side = await front.generator.side(asked.served)
    spec = find_model(front.config.settings, asked.served).spec
    check_context(asked.options, side.limit(spec))
    if asked.thinks and not side.text.thinks:
        raise BadRequest(f'"{asked.model}" does not support thinking.', param="think")
