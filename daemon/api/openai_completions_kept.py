"""GET, POST and DELETE below /v1/chat/completions: what was kept with `store: true`.

Source: https://platform.openai.com/docs/api-reference/chat/list
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..store.completions import Wanted
from .body import convert, read_json
from .completions_keeper import CompletionKeeper
from .keeping import check_metadata
from .paging import list_object, page, read_paging
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

blueprint = Blueprint("completions_kept", url_prefix="/v1/chat/completions")

_LABEL = re.compile(r"metadata\[(.*)\]")


class LabelFields(msgspec.Struct):
    """Body of a change."""

    metadata: dict[str, str] | None


@blueprint.get("/", name="list", strict_slashes=False)
async def listed(request: Request) -> HTTPResponse:
    """OpenAI: the chat completions that are kept, by `model` and `metadata[KEY]`."""
    paging = read_paging(request, "asc")
    labels = {
        found[1]: values[0]
        for name, values in request.args.items()
        if (found := _LABEL.fullmatch(name))
    }
    wanted = Wanted(
        request.args.get("model") or None, labels, paging.order, paging.after, paging.limit
    )
    found, more = await _keeper(request).listed(wanted)
    return json_reply(list_object(found, more=more))


@blueprint.get("/<identity:str>", name="one")
async def one(request: Request, identity: str) -> HTTPResponse:
    """OpenAI: a chat completion that is kept."""
    return json_reply(await _keeper(request).completion(identity))


@blueprint.post("/<identity:str>", name="update", ctx_body=LabelFields)
async def update(request: Request, identity: str) -> HTTPResponse:
    """OpenAI: new metadata for a chat completion that is kept."""
    fields = convert(read_json(request.body), LabelFields)
    return json_reply(await _keeper(request).describe(identity, check_metadata(fields.metadata)))


@blueprint.delete("/<identity:str>", name="delete")
async def delete(request: Request, identity: str) -> HTTPResponse:
    """OpenAI: a chat completion is kept no longer."""
    await _keeper(request).forget(identity)
    return json_reply({"object": "chat.completion.deleted", "id": identity, "deleted": True})


@blueprint.get("/<identity:str>/messages", name="messages")
async def messages(request: Request, identity: str) -> HTTPResponse:
    """OpenAI: the messages that a kept chat completion answers."""
    return json_reply(page(request, await _keeper(request).messages(identity), "asc"))


def _keeper(request: Request) -> CompletionKeeper:
    return request.app.ctx.completions
