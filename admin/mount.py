"""The blueprint: all pages, their files, and what every answer and every POST must obey."""

from __future__ import annotations

from sanic import Blueprint, Request, SanicException
from sanic.response import HTTPResponse

from ..daemon.protocol.errors import FastMLXError, Forbidden, Unauthorized
from .actions import Actions
from .forms import is_same_origin
from .pages import (
    benchmarks,
    cache,
    chat,
    config,
    hub,
    keys,
    login,
    logs,
    mcp,
    model_card,
    model_form,
    models,
    overview,
    requests,
    running,
    service,
    settings,
    usage,
)
from .render import respond
from .session import to_login
from .static_files import static_file

HEADERS = {
    # No inline script or style and nothing from elsewhere: a text that slipped through unescaped
    # could still not run.
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, forms would send `Origin: null`
}
FOR_EVER = "public, max-age=31536000, immutable"


def blueprint() -> Blueprint:
    """The dashboard under /admin. Needs `app.ctx.front`, a `daemon.tasks.front.Front`."""
    pages = Blueprint("admin", url_prefix="/admin")
    actions = Actions()
    overview.add(pages, actions)
    models.add(pages, actions)
    chat.add(pages)
    running.add(pages)
    model_form.add(pages)
    model_card.add(pages, actions)
    requests.add(pages)
    usage.add(pages)
    logs.add(pages)
    service.add(pages)
    cache.add(pages)
    benchmarks.add(pages)
    hub.add(pages)
    mcp.add(pages)
    keys.add(pages)
    login.add(pages)
    settings.add(pages)
    config.add(pages)
    pages.add_route(_static, "/static/<name:str>", name="static")
    pages.add_route(_missing, "/<page:str>", name="missing")
    pages.on_request(_refuse_foreign_posts)
    pages.on_response(_add_headers)
    for kind in (FastMLXError, SanicException):
        pages.exception(kind)(_error_page)
    return pages


async def _static(request: Request, name: str) -> HTTPResponse:
    file = static_file(name)
    if file is None:
        raise SanicException(f"There is no file '{name[:100]}'.", status_code=404)
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    if request.args.get("v") != file.version:
        headers["cache-control"] = "no-cache"
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return HTTPResponse(file.compressed, headers=headers, content_type=file.content_type)
    return HTTPResponse(file.content, headers=headers, content_type=file.content_type)


async def _missing(request: Request, page: str) -> HTTPResponse:
    raise SanicException("There is no such page.", status_code=404)


async def _refuse_foreign_posts(request: Request) -> None:
    if request.method == "POST" and not is_same_origin(request.headers):
        raise Forbidden("This button was not pressed on a page of this server.")


async def _add_headers(request: Request, response: HTTPResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("cache-control", "no-store")
    if response.headers["cache-control"] == "no-store":
        response.headers["vary"] = "hx-request, hx-target, accept"


async def _error_page(request: Request, error: Exception) -> HTTPResponse:
    if isinstance(error, Unauthorized) and "authorization" not in request.headers:
        return to_login(request)
    if isinstance(error, FastMLXError):
        status, message = error.status, error.message
    else:
        assert isinstance(error, SanicException)
        status, message = error.status_code, str(error)
    return respond(request, "error.html", None, {"code": status, "message": message}, status)
