"""API keys and what they have used, for keys with the scope `admin`, and `metrics` for the figures.

GET    /api/keys                    what each may do, and what it has had today
POST   /api/keys                    {"name", …limits}: the answer's `key` is shown this once
PUT    /api/keys/{name}             {…limits}: all of them; what is not named is lifted
POST   /api/keys/{name}/rotate      a new key in the place of the old one
POST   /api/keys/{name}/revoke
DELETE /api/keys/{name}
GET    /api/usage                   [?days=30&key=NAME] requests and tokens by day, model and key

Limits: `scopes`, `models`, `tokens_per_day`, `requests_per_day`, `expires` ("30d", "2027-01-31").
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from sanic import Blueprint
from sanic.response import HTTPResponse

from ..access import edits
from ..access.expiry import expiry_ms
from ..access.keys import Key, Limits
from ..protocol.caller import Scope
from ..protocol.errors import Overloaded
from ..store.database import StoreUnavailable
from ..tasks.usage import MAX_DAYS, usage_by_day
from .body import convert, read_json
from .query import number
from .reply import json_reply

if TYPE_CHECKING:
    from sanic import Request

    from ..access.access import Access

blueprint = Blueprint("keys")


class LimitFields(msgspec.Struct, kw_only=True):
    """What a key may do. null: no bound."""

    scopes: tuple[Scope, ...] = (Scope.INFERENCE,)
    models: tuple[str, ...] | None = None
    tokens_per_day: int | None = None
    requests_per_day: int | None = None
    expires: str | None = None

    def limits(self) -> Limits:
        return Limits(
            scopes=self.scopes,
            models=self.models,
            tokens_per_day=self.tokens_per_day,
            requests_per_day=self.requests_per_day,
            expires_ms=expiry_ms(self.expires, edits.now_ms()),
        )


class NewKey(LimitFields, kw_only=True):
    """Body of `POST /api/keys`."""

    name: str


@blueprint.get("/api/keys", name="list")
async def list_keys(request: Request) -> HTTPResponse:
    """What each key may do, and what it has had today."""
    access = _access(request)
    return _json({"keys": [_shown(access, key) for key in access.listed()]})


@blueprint.post("/api/keys", name="create", ctx_body=NewKey)
async def create(request: Request) -> HTTPResponse:
    """Makes a key, which is in this answer and nowhere else."""
    access = _access(request)
    asked = convert(read_json(request.body), NewKey)
    made = await asyncio.to_thread(edits.create, access.home, asked.name, asked.limits())
    return _told(access, *made)


@blueprint.put("/api/keys/<name:str>", name="limit", ctx_body=LimitFields)
async def limit(request: Request, name: str) -> HTTPResponse:
    """Gives a key other limits."""
    access = _access(request)
    asked = convert(read_json(request.body), LimitFields)
    key = await asyncio.to_thread(edits.limit, access.home, unquote(name), asked.limits())
    return _json(_shown(access, key))


@blueprint.post("/api/keys/<name:str>/rotate", name="rotate")
async def rotate(request: Request, name: str) -> HTTPResponse:
    """A new key in the place of the old one."""
    access = _access(request)
    return _told(access, *await asyncio.to_thread(edits.rotate, access.home, unquote(name)))


@blueprint.post("/api/keys/<name:str>/revoke", name="revoke")
async def revoke(request: Request, name: str) -> HTTPResponse:
    """Nobody gets in with it any more."""
    access = _access(request)
    return _json(_shown(access, await asyncio.to_thread(edits.revoke, access.home, unquote(name))))


@blueprint.delete("/api/keys/<name:str>", name="delete")
async def delete(request: Request, name: str) -> HTTPResponse:
    """Forgets a key."""
    access = _access(request)
    await asyncio.to_thread(edits.delete, access.home, unquote(name))
    return _json({"deleted": True})


@blueprint.get("/api/usage", name="usage")
async def usage(request: Request) -> HTTPResponse:
    """Requests and tokens by day, model and API key."""
    days = number(request.args, "days", 30, least=1, most=MAX_DAYS)
    front = request.app.ctx.front
    try:
        found = await usage_by_day(front.store, days, time.time())
    except StoreUnavailable as error:
        raise Overloaded(f"Usage cannot be read: {error}", retry_after_s=1) from error
    wanted = request.args.get("key")
    rows = [
        {"day": day, "model": each.model, "key": each.key or None, **each.totals._asdict()}
        for day, each in found
        if wanted is None or each.key == wanted
    ]
    return _json({"days": days, "usage": rows})


def _access(request: Request) -> Access:
    return request.app.ctx.front.access


def _told(access: Access, secret: str, key: Key) -> HTTPResponse:
    return _json({"key": secret, **_shown(access, key)})


def _shown(access: Access, key: Key) -> dict[str, Any]:
    spent = access.budgets.spent(key.name)
    today = {"requests": spent.requests, "tokens": spent.tokens}
    return key.public(access.now_ms()) | {"today": today}


def _json(value: Any) -> HTTPResponse:
    # Whoever sits between shall not keep a key.
    return json_reply(value, {"cache-control": "no-store"})
