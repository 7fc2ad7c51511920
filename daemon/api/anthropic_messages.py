"""POST /v1/messages and /v1/messages/count_tokens.

The header `anthropic-version`, beta headers and `?beta=true` are accepted and change nothing.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.tap import Tap
from .anthropic_answer import PING, Envelope, MessageAnswer, MessageStream
from .anthropic_request import HARMLESS, UNSUPPORTED, MessagesFields, read_request
from .keep_alive import KEPT
from .sse import send_events

if TYPE_CHECKING:
    from sanic import Request

blueprint = Blueprint("anthropic_messages")


@blueprint.post(
    "/v1/messages",
    name="messages",
    ctx_body=MessagesFields,
    ctx_raw=KEPT,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(HARMLESS),
)
async def messages(request: Request) -> HTTPResponse | None:
    """Anthropic: the next message of a chat."""
    asked = read_request(request.body, client=request.ip)
    envelope = Envelope(
        message_id=asked.request.meta.request_id,
        request_id=str(request.id),
        model=asked.request.model,
        max_tokens=asked.request.sampling.max_tokens or 0,
        cache_marks=asked.cache_marks,
        hide_thinking=asked.hide_thinking,
    )
    chat = request.app.ctx.front.generator.chat
    if asked.stream:
        stream = MessageStream(envelope)
        tap = Tap(stream.encode)
        events = chat(asked.request, tap)
        await send_events(
            request, events, stream.encode, stream.encode_error, end=b"", heartbeat=PING, tap=tap
        )
        return None
    answer = MessageAnswer(envelope)
    async with aclosing(chat(asked.request)) as events:
        async for event in events:
            answer.add(event)
    return HTTPResponse(answer.encode(), content_type="application/json")


@blueprint.post(
    "/v1/messages/count_tokens",
    name="count_tokens",
    ctx_body=MessagesFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(HARMLESS),
)
async def count_tokens(request: Request) -> HTTPResponse:
    """Exactly the prompt tokens that the same body would have as a message."""
    asked = read_request(request.body, client=request.ip, counting=True)
    count = await request.app.ctx.front.generator.count(asked.request)
    return HTTPResponse(
        msgspec.json.encode({"input_tokens": count}), content_type="application/json"
    )


@blueprint.route("/api/hello", methods=["GET", "HEAD"], name="hello")
async def hello(request: Request) -> HTTPResponse:
    """Claude Code asks whether anybody is there."""
    return HTTPResponse(b"{}", content_type="application/json")
