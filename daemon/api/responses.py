"""POST /v1/responses and what belongs to a response: GET, DELETE, cancel, its input items; tokens
and compaction of what would be one.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.errors import BadRequest
from ..protocol.tap import Tap
from ..tasks import mcp_loop
from ..tasks.lookup import find_model
from .body import read_json
from .keep_alive import KEPT
from .paging import page
from .query import number
from .reply import json_reply
from .responses_background import Background
from .responses_fields import HARMLESS, UNSUPPORTED, ResponsesFields, read_asked
from .responses_input import folded, item_id
from .responses_keeper import Keeper
from .responses_run import prepare, read_request
from .sse import send_events

if TYPE_CHECKING:
    from sanic import Request, Sanic

    from ..tasks.front import Front

blueprint = Blueprint("responses")

MAX_EVENT = 999_999_999  # number of one; no response has more


class CompactFields(msgspec.Struct, kw_only=True):
    """Body of a compaction; other fields of a response change nothing."""

    model: str
    input: str | list[Any] | None = None
    previous_response_id: str | None = None


def install(site: Sanic[Any, Any], front: Front) -> None:
    """Makes what the routes here and those of the WebSocket share."""
    site.ctx.keeper = Keeper(front)
    site.ctx.websockets = 0  # that are open
    site.ctx.websocket_bytes = 0  # of their requests that run and wait
    site.ctx.background = background = Background(site.ctx.keeper)

    async def stop(_: Sanic[Any, Any]) -> None:
        await background.stop()

    site.register_listener(stop, "after_server_stop")


@blueprint.post(
    "/v1/responses",
    name="create",
    ctx_body=ResponsesFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(HARMLESS),
    ctx_raw=KEPT,
)
async def create(request: Request) -> HTTPResponse | None:
    context = request.app.ctx
    asked = read_asked(read_json(request.body))
    run = await prepare(context.front, context.keeper, asked, client=request.ip)
    background: Background = context.background
    if asked.fields.background:
        running = await background.start(run)
        if not asked.fields.stream:
            return json_reply(running.response)
        await _send(request, running.follow(-1))
        return None
    if asked.fields.stream:
        writer = run.writer
        tap = Tap(lambda event: b"".join(writer.encode(event)))
        await send_events(
            request,
            run.frames(tap),
            b"".join,
            lambda error: b"".join(run.fail(error, str(request.id))),
            end=b"",
            heartbeat=lambda: b"".join(writer.beat()),
            greeting=lambda: b"".join(writer.begin()),
            tap=tap,
        )
        return None
    async with aclosing(run.frames()) as made:
        async for _ in made:
            pass
    return json_reply(run.response)


async def _send(request: Request, frames: Any) -> None:
    """Frames that are ready; they hold their own heartbeats and errors."""
    await send_events(request, frames, b"".join, lambda _: b"", end=b"", heartbeat=b"")


@blueprint.get("/v1/responses/<identity:str>", name="one")
async def one(request: Request, identity: str) -> HTTPResponse | None:
    """With `stream=true` the events of a response that runs in the background, again from
    `starting_after`."""
    context = request.app.ctx
    if request.args.get("stream") == "true":
        running = context.background.find(identity)
        if running is None:
            await context.keeper.response(identity)
            raise BadRequest(
                "stream: only a response that is running in the background can be followed.",
                param="stream",
            )
        after = number(request.args, "starting_after", -1, least=-1, most=MAX_EVENT)
        await _send(request, running.follow(after))
        return None
    return json_reply(await context.background.response(identity))


@blueprint.delete("/v1/responses/<identity:str>", name="delete")
async def delete(request: Request, identity: str) -> HTTPResponse:
    await request.app.ctx.background.cancel(identity)
    await request.app.ctx.keeper.forget(identity)
    return json_reply({"id": identity, "object": "response", "deleted": True})


@blueprint.post("/v1/responses/<identity:str>/cancel", name="cancel")
async def cancel(request: Request, identity: str) -> HTTPResponse:
    background: Background = request.app.ctx.background
    await background.cancel(identity)
    response = await background.response(identity)
    if not response["background"]:
        raise BadRequest("Only a response with background: true can be cancelled.")
    return json_reply(response)


@blueprint.get("/v1/responses/<identity:str>/input_items", name="input_items")
async def input_items(request: Request, identity: str) -> HTTPResponse:
    return json_reply(page(request, await request.app.ctx.keeper.input_of(identity)))


@blueprint.post(
    "/v1/responses/input_tokens",
    name="input_tokens",
    ctx_body=ResponsesFields,
    ctx_refused=tuple(UNSUPPORTED),
    ctx_harmless=tuple(HARMLESS),
)
async def input_tokens(request: Request) -> HTTPResponse:
    """Exactly the input tokens that the same body would have as a response."""
    context = request.app.ctx
    asked = read_asked(read_json(request.body))
    before = await context.keeper.context(asked)
    chat = await read_request(context.front, context.keeper, asked, before, request.ip)
    chat = await mcp_loop.offered(context.front.mcp, chat)
    count = await context.front.generator.count(chat)
    return json_reply({"object": "response.input_tokens", "input_tokens": count})


@blueprint.post("/v1/responses/compact", name="compact", ctx_body=CompactFields)
async def compact(request: Request) -> HTTPResponse:
    """One opaque item that stands for all items given. Nothing is left out, so no model is asked:
    the item is smaller for the client, not for the model."""
    context = request.app.ctx
    raw = read_json(request.body)
    asked = read_asked({key: raw[key] for key in CompactFields.__struct_fields__ if key in raw})
    find_model(context.front.config.settings, asked.fields.model)
    before = await context.keeper.context(asked)
    items = [*before.items, *await context.keeper.referred(asked.items, before)]
    mark = uuid.uuid4().hex
    item = {
        "type": "compaction",
        "id": item_id("compaction", mark, 0),
        "encrypted_content": folded(items, context.keeper.seal),
    }
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    return json_reply(
        {
            "id": f"comp_{mark}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [item],
            "usage": usage,
        }
    )
