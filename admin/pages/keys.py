"""`/admin/keys`: API keys, what each may do and has used, and the dashboard's own password."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from sanic import Blueprint, Request
from sanic.request import RequestParameters
from sanic.response import HTTPResponse, redirect

from ...daemon.access import edits
from ...daemon.access.budgets import Spent
from ...daemon.access.keys import Key
from ...daemon.access.passwords import is_right
from ...daemon.protocol.errors import BadRequest, KeyNotFound
from ...daemon.store.database import StoreUnavailable
from ...daemon.tasks.usage import used_by_key
from ..key_form import SCOPES, KeyForm
from ..password import keep
from ..render import respond, wanted_block
from ..session import begin, is_local

if TYPE_CHECKING:
    from ...daemon.access.access import Access
    from ...daemon.tasks.front import Front

DAYS = 30
TONES = {"active": "ready", "used up": "stopping", "expired": "stopping", "revoked": "stopped"}


class Row(NamedTuple):
    """One key of the table."""

    key: Key
    state: str
    today: Spent
    days: Spent  # of the last DAYS


def add(pages: Blueprint) -> None:
    @pages.get("/keys", name="keys")
    async def page(request: Request) -> HTTPResponse:
        return await _page(request, wanted_block(request, ("banner", "keys")), KeyForm())

    @pages.post("/keys", name="create_key")
    async def create(request: Request) -> HTTPResponse:
        """The answer shows the key; no page that can be asked for again does."""
        access = _access(request)
        form = KeyForm.typed(request.form)
        try:
            limits = form.limits(access.now_ms())
            secret, key = await asyncio.to_thread(edits.create, access.home, form.name, limits)
        except BadRequest as error:
            return await _page(request, None, form, error)
        return respond(request, "key_made.html", None, {"key": key, "secret": secret})

    @pages.get("/keys/<name:str>", name="key")
    async def one(request: Request, name: str) -> HTTPResponse:
        key = _find(_access(request), name)
        return _one(request, key, KeyForm.of(key, _day(key.expires_ms)))

    @pages.post("/keys/<name:str>", name="limit_key")
    async def limit(request: Request, name: str) -> HTTPResponse:
        access = _access(request)
        key, form = _find(access, name), KeyForm.typed(request.form)
        try:
            # An expiry that is shown and not touched may have passed.
            if form.expires.strip() == _day(key.expires_ms):
                limits = form._replace(expires="").limits(access.now_ms())
                limits.expires_ms = key.expires_ms
            else:
                limits = form.limits(access.now_ms())
        except BadRequest as error:
            return _one(request, key, form, error)
        await asyncio.to_thread(edits.limit, access.home, key.name, limits)
        return redirect("/admin/keys", status=303)

    @pages.post("/keys/<name:str>/rotate", name="rotate_key")
    async def rotate(request: Request, name: str) -> HTTPResponse:
        access = _access(request)
        secret, key = await asyncio.to_thread(edits.rotate, access.home, unquote(name))
        return respond(request, "key_made.html", None, {"key": key, "secret": secret})

    @pages.post("/keys/<name:str>/revoke", name="revoke_key")
    async def revoke(request: Request, name: str) -> HTTPResponse:
        await asyncio.to_thread(edits.revoke, _access(request).home, unquote(name))
        return redirect("/admin/keys", status=303)

    @pages.post("/keys/<name:str>/delete", name="delete_key")
    async def delete(request: Request, name: str) -> HTTPResponse:
        await asyncio.to_thread(edits.delete, _access(request).home, unquote(name))
        return redirect("/admin/keys", status=303)

    @pages.post("/password", name="password")
    async def password(request: Request) -> HTTPResponse:
        """Everybody else who is signed in has to sign in again."""
        access = _access(request)
        form = request.form or RequestParameters()
        try:
            if access.password is not None:
                access.attempts.begin(request.ip, is_local=is_local(request))
                if not await asyncio.to_thread(
                    is_right, str(form.get("current", "")), access.password
                ):
                    raise BadRequest("That is not the current password.", param="current")
                access.attempts.succeeded(request.ip)
            kept = await keep(access, str(form.get("password", "")), str(form.get("again", "")))
        except BadRequest as error:
            return await _page(request, None, KeyForm(), error)
        return begin(request, redirect("/admin/keys?changed=password", status=303), kept)


async def _page(
    request: Request, block: str | None, form: KeyForm, error: BadRequest | None = None
) -> HTTPResponse:
    front: Front = request.app.ctx.front
    values: dict[str, Any] = {"here": "/admin/keys"}
    if block != "banner":
        rows, problem = await _rows(front)
        values |= {"rows": rows, "problem": problem, "tones": TONES, "days": DAYS}
    if block is None:
        values |= {
            "form": form,
            "scopes": SCOPES,
            "error": error,
            "changed": request.args.get("changed") == "password",
        }
    return respond(request, "keys.html", block, values, 200 if error is None else error.status)


async def _rows(front: Front) -> tuple[list[Row], str | None]:
    """(keys, why there are no figures of the last days)"""
    access = front.access
    used: dict[str, Spent] = {}
    problem = None
    try:
        used = await used_by_key(front.store, DAYS, time.time())
    except StoreUnavailable as error:
        problem = str(error)
    return [
        Row(
            key,
            state_of(access, key),
            access.budgets.spent(key.name),
            used.get(key.name, Spent()),
        )
        for key in access.listed()
    ], problem


def state_of(access: Access, key: Key) -> str:
    """With what its budgets say, which is until tomorrow."""
    state, today = key.state(access.now_ms()), access.budgets.spent(key.name)
    is_spent = today.tokens >= (key.tokens_per_day or math.inf) or today.requests >= (
        key.requests_per_day or math.inf
    )
    return "used up" if state == "active" and is_spent else state


def _one(
    request: Request, key: Key, form: KeyForm, error: BadRequest | None = None
) -> HTTPResponse:
    state = state_of(_access(request), key)
    values = {"key": key, "form": form, "error": error, "scopes": SCOPES, "state": state}
    values["tone"] = TONES[state]
    return respond(request, "key.html", None, values, 200 if error is None else error.status)


def _find(access: Access, name: str) -> Key:
    wanted = unquote(name)
    for key in access.listed():
        if key.name == wanted:
            return key
    raise KeyNotFound(f"There is no key '{wanted[:100]}'.")


def _day(at_ms: int | None) -> str:
    return "" if at_ms is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))


def _access(request: Request) -> Access:
    return request.app.ctx.front.access
