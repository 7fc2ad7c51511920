"""/v1/conversations: what the `conversation` of a Responses request names.

Source: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..protocol.caller import current_key
from ..protocol.errors import BadRequest
from ..store.responses import Conversation
from .body import convert, read_json
from .keeping import check_metadata
from .paging import list_object, page
from .reply import json_reply
from .responses_input import Item, read_items
from .responses_keeper import Keeper

if TYPE_CHECKING:
    from sanic import Request

blueprint = Blueprint("conversations", url_prefix="/v1/conversations")


class ConversationFields(msgspec.Struct):
    metadata: dict[str, str] | None = None
    items: list[Any] | None = None


@blueprint.post("/", name="create", strict_slashes=False, ctx_body=ConversationFields)
async def create(request: Request) -> HTTPResponse:
    fields = _fields(request)
    keeper: Keeper = request.app.ctx.keeper
    now_ms = int(time.time() * 1000)
    labels, owner = fields.metadata or {}, current_key()
    made = Conversation(f"conv_{uuid.uuid4().hex}", now_ms, None, labels, owner)
    await _add(keeper, made, fields.items)
    return json_reply(_object(made))


@blueprint.get("/<identity:str>", name="one")
async def one(request: Request, identity: str) -> HTTPResponse:
    return json_reply(_object(await request.app.ctx.keeper.conversation(identity)))


@blueprint.post("/<identity:str>", name="update", ctx_body=ConversationFields)
async def update(request: Request, identity: str) -> HTTPResponse:
    fields = _fields(request)
    keeper: Keeper = request.app.ctx.keeper
    with keeper.locked(identity):
        found = await keeper.conversation(identity)
        changed = found._replace(metadata=fields.metadata or {})
        await keeper.put_conversation(changed)
    return json_reply(_object(changed))


@blueprint.delete("/<identity:str>", name="delete")
async def delete(request: Request, identity: str) -> HTTPResponse:
    keeper: Keeper = request.app.ctx.keeper
    with keeper.locked(identity):
        await keeper.forget_conversation(identity)
    return json_reply({"id": identity, "object": "conversation.deleted", "deleted": True})


@blueprint.get("/<identity:str>/items", name="items")
async def items(request: Request, identity: str) -> HTTPResponse:
    keeper: Keeper = request.app.ctx.keeper
    head = (await keeper.conversation(identity)).head
    return json_reply(page(request, [] if head is None else await keeper.items_until(head)))


@blueprint.post("/<identity:str>/items", name="add", ctx_body=ConversationFields)
async def add(request: Request, identity: str) -> HTTPResponse:
    fields = _fields(request)
    if not fields.items:
        raise BadRequest("items: at least one item is required.", param="items")
    keeper: Keeper = request.app.ctx.keeper
    with keeper.locked(identity):
        added = await _add(keeper, await keeper.conversation(identity), fields.items)
    return json_reply(list_object(added, more=False))


def _fields(request: Request) -> ConversationFields:
    fields = convert(read_json(request.body or b"{}"), ConversationFields)
    check_metadata(fields.metadata)
    return fields


async def _add(keeper: Keeper, to: Conversation, given: list[Any] | None) -> list[Item]:
    mark = uuid.uuid4().hex
    added = read_items(given, mark=mark, where="items")
    head = f"resp_{mark}" if added else to.head
    await keeper.put_conversation(to._replace(head=head), added or None)
    return added


def _object(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_ms // 1000,
        "metadata": conversation.metadata,
    }
