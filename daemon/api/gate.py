"""Before every handler: is this our host, may that page ask, who asks, and what may they?

The dashboard's pages pass here, too: what is not signed in gets an Unauthorized, of which the
blueprint of the pages makes the way to its sign-in page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sanic.response import HTTPResponse, empty

from ..access.sessions import COOKIE
from ..auth import check_request, preflight_headers
from ..logs import context as log_context
from ..protocol.caller import NOBODY, become

if TYPE_CHECKING:
    from sanic import Request

    from ..tasks.front import Front

LONGEST_ID = 128  # characters that the log keeps of an id that the client chose


async def gate(request: Request) -> HTTPResponse | None:
    """Raises Forbidden and Unauthorized."""
    become(NOBODY)  # connections live longer than requests
    if request.conn_info is None:  # not even a header could be read: only an error is answered
        return None
    if request.transport is not None:
        # Sanic stops reading while a body of 64 KiB or more waits to be consumed. Left so, the
        # end of the connection would go unnoticed, and the request would run for nobody.
        request.transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
    request.app.ctx.activity.asked(request.path)
    theirs = request.headers.get("x-client-request-id", "")[:LONGEST_ID]  # OpenAI's programs'
    log_context.begins(str(request.id)[:LONGEST_ID], theirs or None)
    settings = request.app.ctx.front.config.settings.server
    if request.method == "OPTIONS":
        allowed = preflight_headers(request.headers, settings.cors_origins)
        if allowed:
            return empty(204, headers=allowed)
    authorize(request, request.method)
    return None


def authorize(request: Request, method: str) -> None:
    """From here on the request's task is its caller's. `method` is what the request amounts to: the
    handshake of a WebSocket is a GET that changes something. Raises Forbidden and Unauthorized."""
    front: Front = request.app.ctx.front
    settings = front.config.settings.server
    check_request(
        method, request.headers, bound_host=settings.host, cors_origins=settings.cors_origins
    )
    session = request.cookies.get(COOKIE) if "cookie" in request.headers else None
    become(
        front.access.caller(method, request.path, request.headers, peer=request.ip, session=session)
    )
