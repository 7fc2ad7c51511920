"""`/admin/login`, and signing out. The password is changed on the page of the keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sanic import Blueprint, Request
from sanic.request import RequestParameters
from sanic.response import HTTPResponse, redirect

from ...daemon.access.passwords import is_right
from ...daemon.protocol import caller
from ...daemon.protocol.caller import Scope
from ...daemon.protocol.errors import BadRequest, TooManyAttempts
from ..password import keep
from ..render import respond
from ..session import LOGIN, begin, end, is_local, way_back

if TYPE_CHECKING:
    from ...daemon.tasks.front import Front


def add(pages: Blueprint) -> None:
    checking = asyncio.Lock()  # each takes 32 MiB and the core that others need

    @pages.get("/login", name="login")
    async def page(request: Request) -> HTTPResponse:
        if caller.current().may(Scope.ADMIN):
            return redirect(way_back(request.args.get("next")))
        return _shown(request, request.args.get("next"))

    @pages.post("/login", name="sign_in")
    async def sign_in(request: Request) -> HTTPResponse:
        """With the password, or with the first one, which only this machine may choose."""
        front: Front = request.app.ctx.front
        form = request.form or RequestParameters()
        given, wanted = str(form.get("password", "")), form.get("next")
        kept = front.access.password
        if kept is None:
            if not is_local(request):
                return _shown(request, wanted, status=403)
            try:
                kept = await keep(front.access, given, str(form.get("again", "")))
            except BadRequest as error:
                return _shown(request, wanted, error.message, 400)
            return begin(request, redirect(way_back(wanted), status=303), kept)
        local = is_local(request)
        try:
            front.access.attempts.begin(request.ip, is_local=local)
        except TooManyAttempts as error:
            answer = _shown(request, wanted, error.message, error.status)
            answer.headers["retry-after"] = str(round(error.retry_after_s or 0) + 1)
            return answer
        async with checking:
            right = await asyncio.to_thread(is_right, given, kept)
        if not right:
            return _shown(request, wanted, "That is not the password.", 403)
        front.access.attempts.succeeded(request.ip)
        return begin(request, redirect(way_back(wanted), status=303), kept)

    @pages.post("/logout", name="logout")
    async def sign_out(request: Request) -> HTTPResponse:
        return end(request, redirect(LOGIN, status=303))


def _shown(
    request: Request, wanted: str | None, problem: str | None = None, status: int = 200
) -> HTTPResponse:
    front: Front = request.app.ctx.front
    values = {
        "next": way_back(wanted),
        "problem": problem,
        "has_password": front.access.password is not None,
        "is_local": is_local(request),
    }
    return respond(request, "login.html", None, values, status)
