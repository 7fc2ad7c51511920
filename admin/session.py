"""The cookie of who has signed in, and the way back to the page that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from sanic import Request
from sanic.response import HTTPResponse, redirect

from ..daemon.access.rules import is_direct
from ..daemon.access.sessions import COOKIE, LIFE_S

if TYPE_CHECKING:
    from ..daemon.access.access import Access

LOGIN = "/admin/login"
HOME = "/admin/"


def is_local(request: Request) -> bool:
    """Whether the browser runs on this machine, as far as can be told."""
    return is_direct(request.headers, request.ip)


def signed_in(request: Request) -> bool:
    """Whether there is a session to sign out of."""
    access: Access = request.app.ctx.front.access
    return access.is_signed_in(_cookie(request))


def begin(request: Request, response: HTTPResponse, password: str) -> HTTPResponse:
    """A session under `password` (as it is kept) begins with this response. Blocks for a file."""
    access: Access = request.app.ctx.front.access
    forwarded = request.headers.get("x-forwarded-proto", "")
    response.add_cookie(
        COOKIE,
        access.sessions.begin(password),
        path="/",
        httponly=True,
        samesite="Strict",
        secure="https" in (request.scheme, forwarded),
        max_age=LIFE_S,
    )
    return response


def end(request: Request, response: HTTPResponse) -> HTTPResponse:
    access: Access = request.app.ctx.front.access
    token, kept = _cookie(request), access.password
    if token is not None and kept is not None:
        access.sessions.end(token, kept)
    response.add_cookie(
        COOKIE, "", path="/", httponly=True, samesite="Strict", secure=False, max_age=0
    )
    return response


def to_login(request: Request) -> HTTPResponse:
    """For somebody who has to sign in first. htmx follows its own header; a browser comes back to
    the page afterwards, but not to a button."""
    if request.headers.get("hx-request") == "true":
        return HTTPResponse(status=401, headers={"hx-redirect": LOGIN})
    if request.method not in ("GET", "HEAD"):
        return redirect(LOGIN, status=303)
    wanted = request.path + (f"?{request.query_string}" if request.query_string else "")
    suffix = "" if wanted == HOME else f"?next={quote(wanted, safe='')}"
    return redirect(LOGIN + suffix, status=303)


def way_back(wanted: str | None) -> str:
    """A page of ours, whatever the address says."""
    text = wanted or ""
    ours = text.startswith(HOME) and not text.startswith(LOGIN)
    return text if ours and text.isprintable() and "\\" not in text else HOME


def _cookie(request: Request) -> str | None:
    return request.cookies.get(COOKIE) if "cookie" in request.headers else None
