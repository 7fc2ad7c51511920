"""POST /v1/messages and /v1/messages/count_tokens.

The header `anthropic-version`, beta headers and `?beta=true` are accepted and change nothing.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.tap import Tap
from ..tasks import mcp_loop
from .anthropic_answer import PING, Envelope, MessageAnswer, MessageStream
from .anthropic_editing import edited
from .anthropic_mcp import declared
from .anthropic_request import HARMLESS, UNSUPPORTED, Asked, MessagesFields, read_request
from .keep_alive import KEPT
from .sse import send_events

if TYPE_CHECKING:
    from sanic import Request

    from ..protocol.requests import ChatRequest
    from ..tasks.front import Front

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
    front: Front = request.app.ctx.front
    asked = read_request(request.body, client=request.ip)
    prepared = await _prepared(front, asked)
    envelope = Envelope(
        message_id=asked.request.meta.request_id,
        request_id=str(request.id),
        model=asked.request.model,
        max_tokens=asked.request.sampling.max_tokens or 0,
        cache_marks=asked.request.keep_prefix,
        hide_thinking=asked.hide_thinking,
        labels=prepared.labels,
        edits=prepared.applied if asked.edits else None,
    )
    if asked.stream:
        stream = MessageStream(envelope)
        tap = Tap(stream.encode)
        events = front.chat(prepared.request, tap)
        await send_events(
            request, events, stream.encode, stream.encode_error, end=b"", heartbeat=PING, tap=tap
        )
        return None
    answer = MessageAnswer(envelope)
    async with aclosing(front.chat(prepared.request)) as events:
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
    front: Front = request.app.ctx.front
    asked = read_request(request.body, client=request.ip, counting=True)
    prepared = await _prepared(front, asked)
    shown = await mcp_loop.offered(front.mcp, prepared.request)
    counted: dict[str, Any] = {"input_tokens": await front.generator.count(shown)}
    if asked.edits:
        counted["context_management"] = {"original_input_tokens": prepared.tokens_before}
    return HTTPResponse(msgspec.json.encode(counted), content_type="application/json")


class _Prepared(NamedTuple):
    request: ChatRequest
    labels: dict[str, str]  # MCP server → the client's name of it
    applied: list[dict[str, Any]]  # edits
    tokens_before: int  # the edits; 0 without


async def _prepared(front: Front, asked: Asked) -> _Prepared:
    """What the generator is asked. Raises FastMLXError."""
    servers = declared(asked.servers, front.mcp)
    request = msgspec.structs.replace(asked.request, mcp=servers.wanted)
    if not asked.edits:
        return _Prepared(request, servers.labels, [], 0)
    request, applied, before = await edited(front.generator, request, asked.edits)
    return _Prepared(request, servers.labels, applied, before)


@blueprint.route("/api/hello", methods=["GET", "HEAD"], name="hello")
async def hello(request: Request) -> HTTPResponse:
    """Claude Code asks whether anybody is there."""
    return HTTPResponse(b"{}", content_type="application/json")
