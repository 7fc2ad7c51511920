"""Before every handler: is this our host, may that page ask, who asks, and what may they?

That is asked as soon as a request's header is there: who is turned away learns it before the body
is read, and nothing of that is held.

The dashboard's pages pass here, too: what is not signed in gets an Unauthorized, of which the
blueprint of the pages makes the way to its sign-in page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from socket import gethostname
from typing import TYPE_CHECKING, Any

from sanic import Request
from sanic.exceptions import BadRequest, BadURL, SanicException
from sanic.http import Http
from sanic.http.constants import Stage
from sanic.response import HTTPResponse, empty

from ..access.sessions import COOKIE
from ..auth import check_request, preflight_headers
from ..framing import fault_of
from ..limits import BODIES, LARGE_BYTES
from ..logs import context as log_context
from ..protocol.caller import NOBODY, become
from ..protocol.errors import Overloaded

if TYPE_CHECKING:
    from ..tasks.front import Front

LONGEST_ID = 128  # characters that the log keeps of an id that the client chose


class GatedRequest(Request):
    """A request whose body is read only for those whom the gate lets through."""

    admitted = False

    def __init__(self, url_bytes: bytes, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(url_bytes, *args, **kwargs)
        except BadURL:
            # The one for which Sanic answers that a request was none.
            if kwargs.get("method") != "NONE":
                raise
            super().__init__(b"*", *args, **kwargs)
        if any(name.rstrip() != name for name in self.headers):
            raise BadRequest("No space may stand between a header's name and its colon.")
        if len(self.headers.getall("host", ())) > 1:
            raise BadRequest("A request has one Host header.")
        has_body = "content-length" in self.headers or "transfer-encoding" in self.headers
        if fault := fault_of(self.head, has_body=has_body):
            raise BadRequest(fault)

    async def receive_body(self) -> None:
        """Raises Forbidden and Unauthorized."""
        if self.method != "OPTIONS":  # a browser's question, which the gate may answer
            _admit(self)
            self.admitted = True
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise SanicException(f"A body in {encoding[:20]} is not read: send it as it is.", 415)
        self.body = b"".join([piece async for piece in self._pieces()])

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """Of the body. Raises Overloaded when it and all others would be too much to hold."""
        http = self.stream
        assert isinstance(http, Http)
        looked_bytes = LARGE_BYTES
        async for piece in http:
            size_bytes = http.request_bytes or 0  # announced; of a chunked one so far
            if size_bytes > looked_bytes:
                looked_bytes = 2 * size_bytes
                _check_room(http, BODIES * self.app.config.REQUEST_MAX_SIZE)
            yield piece


def _check_room(http: Http, most_bytes: int) -> None:
    connections = http.protocol.connections
    held = sum(
        other.request_bytes
        for each in connections
        if (other := each.http) is not None
        and other.stage in (Stage.HANDLER, Stage.RESPONSE)
        and (other.request_bytes or 0) > LARGE_BYTES
    )
    if held > most_bytes:
        raise Overloaded(
            f"The requests that run now, and this one, have {held:,} bytes; at most "
            f"{most_bytes:,} are held at once.",
            retry_after_s=1,
        )


async def gate(request: Request) -> HTTPResponse | None:
    """Raises Forbidden and Unauthorized."""
    if request.conn_info is None:  # not even a header could be read: only an error is answered
        become(NOBODY)
        return None
    if request.transport is not None:
        # Sanic stops reading while a body of 64 KiB or more waits to be consumed. Left so, the
        # end of the connection would go unnoticed, and the request would run for nobody.
        request.transport.resume_reading()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(request, GatedRequest) and request.admitted:
        return None
    if request.method == "OPTIONS":
        settings = request.app.ctx.front.config.settings.server
        allowed = preflight_headers(request.headers, settings.cors_origins)
        if allowed:
            become(NOBODY)
            return empty(204, headers=allowed)
    _admit(request)
    return None


def _admit(request: Request) -> None:
    become(NOBODY)  # connections live longer than requests
    if isinstance(request.stream, Http):
        # Of a request that was refused before, on this connection, more was read and dropped.
        most = request.app.config.REQUEST_MAX_SIZE
        request.stream.request_max_size = request.stream.protocol.request_max_size = most
    request.app.ctx.activity.asked(request.path)
    theirs = request.headers.get("x-client-request-id", "")[:LONGEST_ID]  # OpenAI's programs'
    log_context.begins(str(request.id)[:LONGEST_ID], theirs or None)
    authorize(request, request.method)


def authorize(request: Request, method: str) -> None:
    """From here on the request's task is its caller's. `method` is what the request amounts to: the
    handshake of a WebSocket is a GET that changes something. Raises Forbidden and Unauthorized."""
    front: Front = request.app.ctx.front
    settings = front.config.settings.server
    check_request(
        method,
        request.headers,
        bound_host=settings.host,
        cors_origins=settings.cors_origins,
        machine=gethostname(),
        exposed=front.access.exposed,
    )
    session = request.cookies.get(COOKIE) if "cookie" in request.headers else None
    become(
        front.access.caller(method, request.path, request.headers, peer=request.ip, session=session)
    )
