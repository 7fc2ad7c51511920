"""Sanic's requests → the SDK's server, which is an ASGI application.

Only what a request without websockets needs. A client that goes away cancels the
handler, which cancels the application.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanic import Request
    from sanic.response import BaseHTTPResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


async def answer(request: Request, app: App) -> None:
    """Runs `app` for one request and sends what it answers."""
    received = False
    response: BaseHTTPResponse | None = None

    async def receive() -> Message:
        nonlocal received
        if not received:
            received = True
            return {"type": "http.request", "body": request.body or b"", "more_body": False}
        await asyncio.Event().wait()  # the end comes as cancellation
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal response
        if message["type"] == "http.response.start":
            headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in message.get("headers", ())
                if name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
            }
            content_type = headers.pop("content-type", None)
            response = await request.respond(
                status=message["status"], headers=headers, content_type=content_type
            )
        elif message["type"] == "http.response.body":
            assert response is not None
            ends = not message.get("more_body", False)
            await response.send(message.get("body", b""), end_stream=ends)

    await app(scope_of(request), receive, send)


def scope_of(request: Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode("latin-1", "replace"),
        "query_string": request.query_string.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in request.headers.items()
        ],
        "client": (request.ip, request.port or 0),
        "server": None,
        "state": {},
    }
